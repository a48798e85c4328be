"""Access to the file receiver: the one place that decides who may send, and where the files of each belong.

A protocol gives `Access.sender` what a peer has shown, and begins uploads with the `Sender` that it returns:

    sender = await access.sender(host, token=token)
    async with await engine.begin(facts, sender) as upload: ...

It raises `FileRefused` with the code `denied` or `expired`. Where each protocol finds what a peer shows:

    http     `credentials.from_authorization` reads the field Authorization: a bearer's token, or a user with
             a password; `credentials.split_token` finds the token in the path, /t/TOKEN/NAME
    upload   the line `token T`, or `user NAME PASSWORD`
    sftp     user and password, or user and `key`, which the client has proved to own; a token may be either
             the user or the password
    tftp     `credentials.split_token`, t/TOKEN/NAME
    raw      nothing

Each of them adds `certificate=certificate_of(transport)`. `sender` costs little and may be
called for each request; passwords that were right are remembered.
"""
