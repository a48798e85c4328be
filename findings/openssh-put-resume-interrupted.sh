#!/bin/sh
# OpenSSH 9.2p1 (Debian 12): Ctrl-C in `put -a` of sftp truncates the remote file to nothing.
#
# `put -a` (reput) goes on with a file of which the server has a part. When it is interrupted, sftp sets the size of
# the remote file to what is known to be written without a gap, before it closes it. It begins to count at 0 instead of
# at the offset from which it goes on, finds a gap there, and sets the size to 0: what earlier runs have sent is lost,
# too. Here the server is OpenSSH's own, without a network.
#
# Output seen: the server has 8388608 bytes / interrupted at N bytes / the server has 0 bytes
set -eu
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cd "$folder"
head -c 67108864 /dev/zero > local
head -c 8388608 local > remote
echo "the server has $(stat -c %s remote) bytes"
python3 - "$folder" <<'PYTHON'
import os
import signal
import subprocess
import sys
import time

server = next(path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if os.path.exists(path))
remote = f"{sys.argv[1]}/remote"
command = ["sftp", "-q", "-l", "160000", "-D", server]
sftp = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
sftp.stdin.write(f"put -a local {remote}\n".encode())
sftp.stdin.flush()
end = time.monotonic() + 30
while (size := os.path.getsize(remote)) < 12 << 20 and time.monotonic() < end:
    time.sleep(0.01)
sftp.send_signal(signal.SIGINT)
print(f"interrupted at {size} bytes")
sftp.communicate()
PYTHON
left=$(stat -c %s remote)
echo "the server has $left bytes"
[ "$left" = 0 ]
