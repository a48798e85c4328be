"""The worker's module for supervisors of earlier versions, which start it by this name."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("sockd.serving.worker", run_name="__main__", alter_sys=True)
