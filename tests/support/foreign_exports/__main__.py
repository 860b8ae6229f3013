"""Export one detector, and write what its own code finds: PACKAGE DETECTOR FOLDER."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.support.foreign_exports import own, untrained


def main(package: str, detector: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    untrained.seeded()
    module = importlib.import_module(f"tests.support.foreign_exports.of_{package}")
    own.write(module.make(detector, folder), package, folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
