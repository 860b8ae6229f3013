"""`make bench`: all tables, one after the other, and how their ratios differ from those of the baseline.

Usage:
    python -m bench [name] ...         # some of them
    python -m bench.record             # compare what is in bench-output with the baseline
    python -m bench.record keep        # make that the baseline
"""

from __future__ import annotations

import subprocess
import sys

from rich.console import Console

from bench import record

NAMES = (
    "ingest",
    "bus",
    "durability",
    "detector",
    "levels",
    "embed",
    "find",
    "analytics",
    "tracks",
    "vlm",
    "scaler",
    "rest",
    "leases",
)


def main(names: list[str]) -> None:
    """Run each benchmark as its own process."""
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        (record.FOLDER / f"{name}.json").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", f"bench.bench_{name}"], check=False)
    print()
    Console(width=120).print(record.table(record.baseline(), record.read()))


if __name__ == "__main__":
    main(sys.argv[1:])
