"""Server of tftpy: `tftpy_server.py PORT FOLDER`."""

import logging
import sys

import tftpy

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    tftpy.TftpServer(sys.argv[2]).listen("127.0.0.1", int(sys.argv[1]))
