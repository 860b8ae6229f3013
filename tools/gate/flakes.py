"""Run tests, and run again what failed: a test that then always passes is a flake, reported and not red.

`python -m tools.gate.flakes -- COMMAND...` replaces `{}` in the command by a file for pytest's `--junitxml`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import msgspec

# With more failures than this, nothing is run again: they are not flakes.
MAX_RERUN = 5
# The first rerun has no load; the others have artificial load.
RERUNS = 5
FLAKY_FILE = Path("tests/flaky.toml")
MAX_FLAKY = 5
MAX_AGE_DAYS = 14
# A load process ends by itself, in case this process is killed.
_BUSY_LOOP = "import time; end = time.monotonic() + 900\nwhile time.monotonic() < end: pass"


class Failure(msgspec.Struct, frozen=True):
    """A failed test: its name for pytest, and the first line of the failure."""

    test: str
    why: str

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]

    @property
    def asserted(self) -> bool:
        """Whether an assertion failed. The machine more often causes a timeout or a refused connection."""
        return self.why.startswith(("AssertionError", "assert "))


class Flaky(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of tests/flaky.toml."""

    test: str
    since: dt.date
    known: str


class _FlakyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flaky: list[Flaky] = []


def failures(junit: Path) -> list[Failure]:
    """Return the failures in a file by pytest's `--junitxml`; none if the file does not exist."""
    if not junit.exists() or not junit.stat().st_size:
        return []
    found: dict[str, Failure] = {}
    for case in ElementTree.parse(junit).iter("testcase"):  # noqa: S314 - pytest wrote it
        for result in (*case.iter("failure"), *case.iter("error")):
            # xdist adds the test's group to its name: `test_x[a]@group`.
            name = re.sub(r"@[^]@]*$", "", case.get("name", ""))
            test = f"{case.get('classname', '').replace('.', '/')}.py::{name}"
            found.setdefault(test, Failure(test, result.get("message", "").partition("\n")[0]))
    return list(found.values())


def skipped(junit: Path) -> list[str]:
    """Return a line for each skipped test, with the reason."""
    cases = ElementTree.parse(junit).iter("testcase") if junit.exists() else ()  # noqa: S314 - pytest wrote it
    return [f"{case.get('name')}: {skip.get('message')}" for case in cases for skip in case.iter("skipped")]


def reached_files() -> list[str] | None:
    """Return the test files that the change since BASE, or since the last commit, reaches; None if that is unknown."""
    base = os.environ.get("BASE")
    result = subprocess.run(
        [sys.executable, "-m", "tools.affected", *filter(None, [base])], capture_output=True, text=True
    )
    if result.returncode:
        print(f"what this change reaches is unknown: {result.stderr.strip()}")
        return None
    return result.stdout.splitlines()


def stays_red(failed: Sequence[Failure], strict: bool, files: Callable[[], Collection[str] | None]) -> list[Failure]:
    """Return the failures that stay red whatever a second run shows.

    These are failed assertions of core tests (`strict`), and of tests that the change reaches, by `files`.
    """
    asserted = [failure for failure in failed if failure.asserted]
    if strict or not asserted or (reach := files()) is None:
        return asserted
    return [failure for failure in asserted if failure.file in reach]


def violations(entries: Sequence[Flaky], today: dt.date) -> list[str]:
    """Return a sentence for each rule that the known flakes break."""
    old = [flaky for flaky in entries if (today - flaky.since).days > MAX_AGE_DAYS]
    wrong = [f"{flaky.test} is flaky since {flaky.since}, more than {MAX_AGE_DAYS} days: mend it" for flaky in old]
    if len(entries) > MAX_FLAKY:
        wrong.append(f"{len(entries)} tests are known to be flaky, more than {MAX_FLAKY}: mend some")
    return wrong


@contextmanager
def load() -> Iterator[None]:
    """Keep each core busy twice."""
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY_LOOP]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def all_pass_again(failed: Sequence[Failure]) -> bool:
    """Return whether all these tests pass in each rerun."""
    command = [sys.executable, "-m", "pytest", *(failure.test for failure in failed)]
    for time in range(1, RERUNS + 1):
        print(f"\nagain, {time} of {RERUNS}{', with load' if time > 1 else ''}", flush=True)
        if time == 1:
            result = subprocess.run(command)
        else:
            with load():
                result = subprocess.run(command)
        if result.returncode:
            return False
    return True


def read_entries() -> list[Flaky]:
    return msgspec.convert(tomllib.loads(FLAKY_FILE.read_text()), _FlakyFile).flaky


def run(command: Sequence[str], strict: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "junit.xml"
        status = subprocess.run([part.replace("{}", str(junit)) for part in command]).returncode
        failed, skips = failures(junit), skipped(junit) if strict else []
    if skips:
        print("\nhere no test may be skipped:", *skips, sep="\n  ")
    if status == 0 or not failed:
        return status or bool(skips)
    at = os.getloadavg()[0]
    if len(failed) > MAX_RERUN:
        print(f"\n{len(failed)} tests failed: none is run again, as they are more than {MAX_RERUN}")
        return 1
    if stay := stays_red(failed, strict, reached_files):
        why = "of the core" if strict else "that this change reaches"
        print(f"\nan assertion failed in a test {why}: it stays red", *(failure.test for failure in stay), sep="\n  ")
        return 1
    print(f"\nat a load of {at:.1f} these failed and are run again:", *(failure.test for failure in failed), sep="\n  ")
    if not all_pass_again(failed) or skips:
        return 1
    listed = {flaky.test for flaky in read_entries()}
    for failure in failed:
        print(f"FLAKE {failure.test} at a load of {at:.1f}: {failure.why}")
        if failure.test not in listed:
            print(f"  find its cause; until then write it into {FLAKY_FILE} with today's date")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gate.flakes", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--strict", action="store_true", help="in any test a failed assertion stays red, and a skip is red"
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="without one, judge tests/flaky.toml")
    options = parser.parse_args()
    if options.command:
        return run(options.command, options.strict)
    wrong = violations(read_entries(), dt.datetime.now(dt.UTC).date())
    print(*wrong or [f"{len(read_entries())} tests are known to be flaky"], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
