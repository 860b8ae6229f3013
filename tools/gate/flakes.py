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

# More failures than these are no flakes: nothing is run again.
MOST = 5
# The first time without load, then with load made on purpose.
TIMES = 5
KNOWN = Path("tests/flaky.toml")
MOST_KNOWN = 5
MOST_DAYS = 14
# What makes load ends by itself, in case that this process is killed.
_BUSY = "import time; end = time.monotonic() + 900\nwhile time.monotonic() < end: pass"


class Failure(msgspec.Struct, frozen=True):
    """A test that failed: its name for pytest, and the first line of why."""

    test: str
    why: str

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]

    @property
    def asserted(self) -> bool:
        """Whether an assertion failed. A timeout or a refused connection is more often the machine's."""
        return self.why.startswith(("AssertionError", "assert "))


class Flaky(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of tests/flaky.toml."""

    test: str
    since: dt.date
    known: str


class _Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flaky: list[Flaky] = []


def failures(junit: Path) -> list[Failure]:
    """Return what failed, of a file by pytest's `--junitxml`; nothing where there is no file."""
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
    """Return which tests were skipped and why, a line each."""
    cases = ElementTree.parse(junit).iter("testcase") if junit.exists() else ()  # noqa: S314 - pytest wrote it
    return [f"{case.get('name')}: {skip.get('message')}" for case in cases for skip in case.iter("skipped")]


def reached() -> list[str] | None:
    """Return the test files that the change since BASE, or since the last commit, reaches; None if that is unknown."""
    base = os.environ.get("BASE")
    done = subprocess.run(
        [sys.executable, "-m", "tools.affected", *filter(None, [base])], capture_output=True, text=True
    )
    if done.returncode:
        print(f"what this change reaches is unknown: {done.stderr.strip()}")
        return None
    return done.stdout.splitlines()


def red(failed: Sequence[Failure], strict: bool, files: Callable[[], Collection[str] | None]) -> list[Failure]:
    """Return the failures that stay red whatever a second run shows.

    These are failed assertions of core tests (`strict`), and of tests that the change reaches, by `files`.
    """
    asserted = [failure for failure in failed if failure.asserted]
    if strict or not asserted or (reach := files()) is None:
        return asserted
    return [failure for failure in asserted if failure.file in reach]


def unmended(known: Sequence[Flaky], today: dt.date) -> list[str]:
    """Return a sentence for each rule that the known flakes break."""
    old = [flaky for flaky in known if (today - flaky.since).days > MOST_DAYS]
    wrong = [f"{flaky.test} is flaky since {flaky.since}, more than {MOST_DAYS} days: mend it" for flaky in old]
    if len(known) > MOST_KNOWN:
        wrong.append(f"{len(known)} tests are known to be flaky, more than {MOST_KNOWN}: mend some")
    return wrong


@contextmanager
def load() -> Iterator[None]:
    """Keep each core busy twice."""
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def again(failed: Sequence[Failure]) -> bool:
    """Return whether all of them pass each time."""
    command = [sys.executable, "-m", "pytest", *(failure.test for failure in failed)]
    for time in range(1, TIMES + 1):
        print(f"\nagain, {time} of {TIMES}{', with load' if time > 1 else ''}", flush=True)
        if time == 1:
            done = subprocess.run(command)
        else:
            with load():
                done = subprocess.run(command)
        if done.returncode:
            return False
    return True


def known() -> list[Flaky]:
    return msgspec.convert(tomllib.loads(KNOWN.read_text()), _Known).flaky


def run(command: Sequence[str], strict: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "junit.xml"
        status = subprocess.run([part.replace("{}", str(junit)) for part in command]).returncode
        failed, left_out = failures(junit), skipped(junit) if strict else []
    if left_out:
        print("\nhere no test may be skipped:", *left_out, sep="\n  ")
    if status == 0 or not failed:
        return status or bool(left_out)
    at = os.getloadavg()[0]
    if len(failed) > MOST:
        print(f"\n{len(failed)} tests failed: none is run again, as they are more than {MOST}")
        return 1
    if stay := red(failed, strict, reached):
        why = "of the core" if strict else "that this change reaches"
        print(f"\nan assertion failed in a test {why}: it stays red", *(failure.test for failure in stay), sep="\n  ")
        return 1
    print(f"\nat a load of {at:.1f} these failed and are run again:", *(failure.test for failure in failed), sep="\n  ")
    if not again(failed) or left_out:
        return 1
    entries = {flaky.test for flaky in known()}
    for failure in failed:
        print(f"FLAKE {failure.test} at a load of {at:.1f}: {failure.why}")
        if failure.test not in entries:
            print(f"  find its cause; until then write it into {KNOWN} with today's date")
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
    wrong = unmended(known(), dt.datetime.now(dt.UTC).date())
    print(*wrong or [f"{len(known())} tests are known to be flaky"], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
