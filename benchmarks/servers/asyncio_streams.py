"""Server on asyncio's streams, as most programs use them: asyncio_streams.py tcp PORT stdlib|uvloop"""

from __future__ import annotations

import asyncio
import sys

CHUNK = 65_536


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo one connection."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """Serve until a signal comes."""
    server = await asyncio.start_server(echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main(port: int, loop: str) -> None:
    """Serve on the loop that the arguments name."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve(port))
    else:
        asyncio.run(serve(port))


if __name__ == "__main__":
    main(int(sys.argv[2]), sys.argv[3])
