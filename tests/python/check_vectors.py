"""The vectors that a Rust test pins are those that a second implementation computes.

usage: check_vectors.py SCRIPT TESTS    SCRIPT prints two lines of vectors, TESTS is the Rust file that has them
"""

import subprocess
import sys
from pathlib import Path


def squeeze(text: str) -> str:
    """Without the layout that a formatter may choose."""
    return "".join(text.split()).replace(",]", "]")


def main(script: Path, tests: Path) -> int:
    made = subprocess.run([sys.executable, "-E", script], check=True, capture_output=True, text=True).stdout
    lines, pinned = made.splitlines(), squeeze(tests.read_text())
    if len(lines) != 2 or min(map(len, lines)) < 20:
        print(f"FAIL {script.name} printed {made!r}")
        return 1
    missing = [line for line in lines if squeeze(line) not in pinned]
    for line in missing:
        print(f"FAIL {tests}: does not pin {line}")
    print(f"{len(lines) - len(missing)} of {len(lines)} vectors are pinned")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
