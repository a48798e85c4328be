#!/bin/sh
# pyte 0.8.2, a terminal emulator, drops the rest of what it is fed behind a zero-width joiner.
#
# U+200D has no width and is no combining mark: a terminal draws nothing for it and goes on. pyte ends drawing there, so
# that text behind an emoji such as the woman at a computer never reaches the screen, unless it is fed separately.
#
# Output seen: joiner: 'a' / combining mark: 'a\u0301bc'
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --target "$folder" pyte==0.8.2
cat > "$folder/draw.py" <<'PYTHON'
import unicodedata

import pyte


def drawn(text):
    """Row of a screen that was fed a text at once, with marks apart."""
    screen = pyte.Screen(20, 1)
    pyte.Stream(screen).feed(text)
    return ascii(unicodedata.normalize("NFD", screen.display[0].rstrip()))


print(f"joiner: {drawn('a' + chr(0x200D) + 'bc')} / combining mark: {drawn('a' + chr(0x301) + 'bc')}")
PYTHON
seen=$(PYTHONPATH="$folder" python3 "$folder/draw.py")
printf "%s\n" "$seen"
[ "$seen" = "joiner: 'a' / combining mark: 'a\\u0301bc'" ]
