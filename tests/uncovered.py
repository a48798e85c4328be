"""Coverage report of the files of which less than a share is covered: `python tests/uncovered.py PERCENT`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from coverage import Coverage

OWN = ["sockd/*", "plugins/sockd_plugins/*"]
"""Files of this tree; a test also runs former code, from a folder of its own."""


def main() -> None:
    """Print the report, and the total of all files."""
    least = float(sys.argv[1])
    measured = Coverage()
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        total = measured.json_report(include=OWN, outfile=str(file))
        files = json.loads(file.read_text())["files"]
    below = [name for name, each in files.items() if each["summary"]["percent_covered"] < least]
    if below:
        measured.report(include=below, sort="cover")
    said = f"{len(below)} of {len(files)} files below {least:g} %, {total:.1f} % of all is covered\n"
    sys.stdout.write(said)


if __name__ == "__main__":
    main()
