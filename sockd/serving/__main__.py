"""Start of a worker's process: `python -m sockd.serving DESCRIPTOR [REACTOR]`."""

from __future__ import annotations

from sockd.process import startup

if __name__ == "__main__":
    startup.prepare()  # before the modules of a worker, whose import takes time

    from sockd.serving.worker import main

    main()
