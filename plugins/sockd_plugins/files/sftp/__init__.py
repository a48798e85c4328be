"""Protocol `sftp`: files from scp, sftp and all programs that speak SFTP, version 3, over SSH.

    serve.py        conversation with a client, on its connection
    transport.py    SSH transport: Conch's key exchange, with packets and bounds of our own
    exchange.py     algorithms, keys and messages of a key exchange
    ciphers.py      encryption of the packets
    login.py        login with a key, a password or a token
    channels.py     channels of the connection, each with a session
    session.py      SFTP session: requests, one after another
    scp.py          old protocol of scp
    packets.py      packets of SFTP
    fields.py       fields of all messages
    open_file.py    file that a client writes: WRITEs in order become an upload
    view.py         what a session sees of its folder
    host_key.py     key of the server

Shells, other commands, forwarding and reading are refused.
"""
