"""All tests in parts, the shards, of which each ends within nine minutes on two cores.

A shard is named `K/N`, or `KIND-K/N` for tests that need the machine or packages for themselves. `--shard` selects one.
`python -m tests.support.shards` lists all names; with a FILE it renews the table of costs that balances them.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping
from pathlib import Path

import pytest

from tests.support import examples

# How many shards each kind of test has. A test is of the first kind whose marks it has, and of "" without any.
COUNTS = {"": 10, "alone": 2, "image": 3, "vllm": 1, "exports": 1}
MARKS = {"vllm": {"vllm", "phoenix"}, "image": {"image"}, "alone": {"alone"}, "exports": {"exports"}}
# CPU seconds and wall seconds of each file's tests.
TABLE = Path(__file__).with_name("costs.json")
UNKNOWN = (5.0, 10.0)
CORES, PROCESSES = 2, 4
# A quick test's limits, and the marks of tests that are not quick: `make test` leaves these out.
QUICK_S, WAIT_S = 3.0, 6.0
NOT_QUICK = {"slow", "alone", "foreign"}


def names() -> list[str]:
    """The names of all shards: each test is in exactly one of them."""
    return [f"{kind}-{k}/{n}".lstrip("-") for kind, n in COUNTS.items() for k in range(1, n + 1)]


def parse(name: str) -> tuple[str, int, int]:
    """Return kind, number and count of a shard. Raises ValueError for any other name."""
    match = re.fullmatch(r"(?:([a-z]+)-)?(\d+)/(\d+)", name)
    if match is None:
        raise ValueError(f"{name!r} is no shard: give K/N or KIND-K/N, such as 3/8 or alone-1/2")
    kind, k, n = match[1] or "", int(match[2]), int(match[3])
    if kind not in COUNTS:
        raise ValueError(f"{name!r}: no kind {kind!r}, there are {', '.join(filter(None, COUNTS))}")
    if not 1 <= k <= n:
        raise ValueError(f"{name!r}: the first number must be 1 to {n}")
    return kind, k, n


def kind_of(marks: Collection[str]) -> str:
    return next((kind for kind, wanted in MARKS.items() if wanted & set(marks)), "")


def split(keys: Iterable[str], costs: Mapping[str, tuple[float, float]], n: int) -> dict[str, int]:
    """Return the shard, 1 to `n`, of each key: the costliest first, each into the shard with the least so far."""

    def size(key: str) -> float:
        cpu_s, wall_s = costs.get(key, UNKNOWN)
        return max(cpu_s / CORES, wall_s / PROCESSES)

    sums = [0.0] * n
    shards = {}
    for key in sorted(set(keys), key=lambda k: (-size(k), k)):
        least = sums.index(min(sums))
        sums[least] += size(key)
        shards[key] = least + 1
    return shards


def renew(lines: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return the table of costs from the lines that `--costs` wrote. Of a test's several lines the last counts.

    Lines of `make test` do not count: properties try fewer examples there.
    """
    tests = {line["test"]: line for line in map(json.loads, lines) if not line["quick"]}
    table: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for test in tests.values():
        table[test["key"]][0] += test["cpu_s"]
        table[test["key"]][1] += test["wall_s"]
    return {key: (round(cpu_s, 1), round(wall_s, 1)) for key, (cpu_s, wall_s) in sorted(table.items())}


def unmarked(lines: Iterable[str]) -> list[str]:
    """Return the tests that must be marked slow, the costliest first, from the lines of `make test`."""
    tests = {line["test"]: line for line in map(json.loads, lines) if line["quick"]}
    costly = [test for test in tests.values() if test["cpu_s"] > QUICK_S or test["wall_s"] > WAIT_S]
    return [
        f"{t['test']}: {t['cpu_s']:.1f} s of CPU, {t['wall_s']:.0f} s"
        for t in sorted(costly, key=lambda t: -t["cpu_s"])
    ]


def _kind(item: pytest.Item) -> str:
    return kind_of({mark.name for mark in item.iter_markers()})


def key_of(item: pytest.Item) -> str:
    """Return the unit that no split divides: the tests of one kind in one file."""
    return f"{_kind(item)} {item.nodeid.partition('::')[0].rpartition('/')[2]}".lstrip()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard", metavar="[KIND-]K/N", help="run this part of all tests, as tests/support/costs.json splits them"
    )
    parser.addoption(
        "--costs", metavar="FILE", help="append each test's CPU and wall seconds to this file, as JSON lines"
    )


def select(items: Iterable[pytest.Item], name: str) -> list[pytest.Item]:
    """Return those of all tests that are in a shard. Raises ValueError for any other name."""
    kind, k, n = parse(name)
    costs = {key: tuple(cost) for key, cost in json.loads(TABLE.read_text()).items()}
    of_kind = [item for item in items if _kind(item) == kind]
    shards = split(map(key_of, of_kind), costs, n)
    return [item for item in of_kind if shards[key_of(item)] == k]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (name := config.getoption("--shard")) is None:
        return
    try:
        selected = select(items, name)
    except ValueError as error:
        raise pytest.UsageError(f"--shard: {error}") from None
    chosen = set(selected)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = selected


def _cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    cpu_s, began = _cpu_s(), time.monotonic()
    try:
        return (yield)
    finally:
        if file := item.config.getoption("--costs"):
            costs = {"cpu_s": round(_cpu_s() - cpu_s, 2), "wall_s": round(time.monotonic() - began, 2)}
            marks = {mark.name for mark in item.iter_markers()}
            quick = examples.most == examples.GATE and not marks & NOT_QUICK
            line = json.dumps({"test": item.nodeid, "key": key_of(item), "quick": quick, **costs}) + "\n"
            # One write to a file opened for appending is never mixed with those of other processes.
            fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(fd, line.encode())
            os.close(fd)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        lines = [line for file in sys.argv[1:] for line in Path(file).read_text().splitlines()]
        table = renew(lines)
        TABLE.write_text(
            "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(cost)}" for key, cost in table.items()) + "\n}\n"
        )
        if found := unmarked(lines):
            print("if these take as long without load, mark them slow:", *found, sep="\n  ")
    else:
        print(*names(), sep="\n")
