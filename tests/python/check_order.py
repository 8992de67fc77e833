"""The vectors that pin the order of samples in Rust are those that order_vectors.py computes.

usage: check_order.py crates/core/src/order/tests.rs
"""

import subprocess
import sys
from pathlib import Path


def squeeze(text: str) -> str:
    """Without the layout that a formatter may choose."""
    return "".join(text.split()).replace(",]", "]")


def main(tests: Path) -> int:
    made = subprocess.run([sys.executable, "-E", Path(__file__).with_name("order_vectors.py")], check=True, capture_output=True, text=True).stdout
    lines, pinned = made.splitlines(), squeeze(tests.read_text())
    if len(lines) != 2 or min(map(len, lines)) < 20:
        print(f"FAIL order_vectors.py printed {made!r}")
        return 1
    missing = [line for line in lines if squeeze(line) not in pinned]
    for line in missing:
        print(f"FAIL {tests}: does not pin {line}")
    print(f"{len(lines) - len(missing)} of {len(lines)} vectors are pinned")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
