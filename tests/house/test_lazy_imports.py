"""Imported but unused modules are not loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import patience_s

BEGIN = "import sys; sys.path.insert(0, sys.argv[1]); import shared; from shared.runtime import lazy; "
PACKAGE = "import os\nfrom shelf import books\nTITLE = 'shelf'\n"


def run(program: str, folder: Path) -> str:
    command = [sys.executable, "-c", BEGIN + program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/__init__.py").write_text(PACKAGE)
    (tmp_path / "shelf/books.py").write_text("COUNT = 3\n")
    return tmp_path


def test_a_connection_loads_no_web_client(tmp_path: Path) -> None:
    assert run("import shared.bus; import aiohttp; print('aiohttp.client' in sys.modules)", tmp_path) == "False"


@pytest.mark.parametrize(
    "use",
    [
        "import shelf; print(shelf.books.COUNT)",
        "import shelf.books; print(shelf.books.COUNT)",
        "from shelf import books; print(books.COUNT)",
        "from shelf.books import COUNT; print(COUNT)",
        "from shelf import *; print(books.COUNT)",
    ],
)
def test_any_use_loads_it(shelf: Path, use: str) -> None:
    first = "lazy.until_used('shelf'); import shelf as s; print('shelf.books' in sys.modules); "
    also = "; print(s.TITLE, 'os' in vars(s), s.__file__[-17:])"
    assert run(first + use + also, shelf).split("\n") == ["False", "3", "shelf True shelf/__init__.py"]


def test_concurrent_threads_all_get_it(shelf: Path) -> None:
    with (shelf / "shelf/books.py").open("a") as books:
        books.write("import time; time.sleep(0.2)\n")
    program = """
lazy.until_used('shelf')
import shelf, threading
found = []
threads = [threading.Thread(target=lambda: found.append(shelf.TITLE)) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), set(found))"""
    assert run(program, shelf) == "8 {'shelf'}"


def test_a_failed_import_is_reported_each_time(shelf: Path) -> None:
    (shelf / "shelf/books.py").write_text("import nothing_of_that_name\n")
    program = """
lazy.until_used('shelf')
import shelf
for _ in range(2):
    try: shelf.TITLE
    except ModuleNotFoundError as e: print(e)"""
    assert run(program, shelf).split("\n") == ["No module named 'nothing_of_that_name'"] * 2


def test_a_missing_attribute_raises_the_usual_error(shelf: Path) -> None:
    program = """
lazy.until_used('shelf')
import shelf
for _ in range(2):
    try: shelf.nothing
    except AttributeError as e: print(e)
lazy.until_used('nowhere')
try: import nowhere
except ModuleNotFoundError as e: print(e)"""
    lacks = "module 'shelf' has no attribute 'nothing'"
    assert run(program, shelf).split("\n") == [lacks, lacks, "No module named 'nowhere'"]
