#!/bin/sh
# ii 1.8 (Debian 12) has one folder for two people whose names differ in a character of names that it writes as `_`.
#
# ii(1): "For every channel and every nick name there will be new in and out files." RFC 2812, 2.3.1, has names with
# [ ] \ ` ^ { | } too. ii writes each of them as `_` in the name of the folder, so that `a_b` and "a`b" share theirs:
# the private messages of both are in one `out`, and one `in` takes the answers to both. (With names in UTF-8, which
# servers allow today, each byte becomes `_`.)
#
# Output seen: folders: a_b / out: <a_b> from the first, <a`b> from the second
set -eu
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 - "$folder" <<'PYTHON'
import os
import socket
import subprocess
import sys
import time

server = socket.create_server(("127.0.0.1", 0))
server.settimeout(10)
host = f"{sys.argv[1]}/127.0.0.1"
ii = subprocess.Popen(
    ["ii", "-s", "127.0.0.1", "-p", str(server.getsockname()[1]), "-n", "me", "-i", sys.argv[1]],
    stdout=subprocess.DEVNULL,
)
try:
    connection, _ = server.accept()
    connection.sendall(
        b":s 001 me :welcome\r\n:a_b!u@h PRIVMSG me :from the first\r\n:a`b!u@h PRIVMSG me :from the second\r\n"
    )
    out, end = "", time.monotonic() + 10
    while out.count("\n") < 2 and time.monotonic() < end:
        time.sleep(0.05)
        if os.path.exists(f"{host}/a_b/out"):
            out = open(f"{host}/a_b/out").read()
finally:
    ii.kill()
    ii.wait()
folders = sorted(name for name in os.listdir(host) if os.path.isdir(f"{host}/{name}"))
print("folders:", *folders)
lines = [line.partition(" ")[2] for line in out.splitlines()]
print("out:", ", ".join(lines))
sys.exit(folders != ["a_b"] or lines != ["<a_b> from the first", "<a`b> from the second"])
PYTHON
