"""`make affected`: the test files that a change can reach.

    python -m tools.affected                              # since the merge base with upstream, or since HEAD~1
    python -m tools.affected v0.2.0 --why tests/cli/test_cli.py

Uncommitted and untracked files count as changed.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tools.affected import uses
from tools.affected.graph import Affected, Graph
from tools.affected.uses import Uses

CACHE = ".pytest_cache/affected"
TEXTS = (".py", ".yaml", ".md")
# An entry of the cache holds for this reader alone.
READER = Path(uses.__file__).read_bytes()
NO_CHECKOUT = "this is no git checkout: run it in a clone of the repository, or run `make test`"
NO_COMMIT = "HEAD has no commit in common with {}: name a branch, a tag or a commit, or fetch it first"
NO_PARENT = "HEAD has no commit before it: name a BASE, or run `make test`"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.affected", description="Print the tests that a change reaches"
    )
    parser.add_argument(
        "base", nargs="?", default="", help="compare with this commit; by default upstream's, or HEAD~1"
    )
    parser.add_argument("--why", metavar="TEST", help="print how the change reaches this test file")
    options = parser.parse_args()
    # Reading a thousand files creates no garbage.
    gc.disable()
    os.chdir(one(NO_CHECKOUT, "rev-parse", "--show-toplevel"))
    base = since(options.base)
    listed = git("ls-files", "-z", "--others", "--exclude-standard")
    changed = sorted({*git("diff", "-z", "--name-only", "--no-renames", base), *listed})
    try:
        graph = load(Path(), {*git("ls-files", "-z"), *changed})
    except SyntaxError as e:
        raise SystemExit(f"{e.filename}:{e.lineno}: {e.msg}: correct this file first") from e
    found = graph.affected(changed)
    if options.why:
        print(*why(graph, found, options.why), sep="\n")
        return
    tests = [test for test in graph.tests if (found.doubts or test in found.tests) and Path(test).exists()]
    for doubt in found.doubts:
        print(f"all tests: {doubt}", file=sys.stderr)
    print(
        f"{len(tests)} of {len(graph.tests)} test files: changed files since {base[:9]}: {len(changed)}",
        file=sys.stderr,
    )
    for test in tests:
        print(test)


def why(graph: Graph, found: Affected, test: str) -> list[str]:
    """Return the chain from the changed file to the test. Raises SystemExit if `test` is not a test file."""
    if test not in graph.dependencies:
        raise SystemExit(f"{test} is no test file: name one that `git ls-files 'tests/**/test_*.py'` lists")
    if test not in found.tests:
        return found.doubts or [f"no change reaches {test}"]
    file, node = found.tests[test]
    return list(dict.fromkeys([file, *graph.why(test, node)]))


def load(root: Path, files: Iterable[str]) -> Graph:
    """Return the graph of a checkout. The cache maps the content of each file to its uses."""
    sources = {file: (root / file).read_bytes() for file in files if file.endswith(TEXTS) and (root / file).is_file()}
    keys = {file: hashlib.sha256(READER + file.encode() + source).hexdigest() for file, source in sources.items()}
    try:
        cached = msgspec.msgpack.decode((root / CACHE).read_bytes(), type=dict[str, Uses])
    except (OSError, msgspec.DecodeError):
        cached = {}
    found = {key: cached.get(key) or uses.read(file, sources[file].decode()) for file, key in keys.items()}
    if found.keys() != cached.keys():
        (root / CACHE).parent.mkdir(exist_ok=True)
        (root / CACHE).write_bytes(msgspec.msgpack.encode(found))
    # Other files may still name a deleted file.
    return Graph(files, {file: found[keys[file]] if file in keys else Uses() for file in files if file.endswith(TEXTS)})


def since(base: str) -> str:
    """Return the merge base of HEAD and `base`, or of HEAD and upstream; else HEAD~1. Raises SystemExit."""
    if base:
        return one(NO_COMMIT.format(base), "merge-base", base, "HEAD")
    upstream = git("merge-base", "@{upstream}", "HEAD")
    return (
        upstream[0]
        if upstream and upstream != git("rev-parse", "HEAD")
        else one(NO_PARENT, "rev-parse", "--verify", "HEAD~1")
    )


def one(otherwise: str, *arguments: str) -> str:
    """Return the only name that git prints. Raises SystemExit, with the remedy, if there is none."""
    if not (found := git(*arguments)):
        raise SystemExit(otherwise)
    return found[0]


def git(*arguments: str) -> list[str]:
    """Return the names that git prints; none if it fails."""
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return [] if result.returncode else [name for name in re.split(r"[\0\n]", result.stdout) if name]


if __name__ == "__main__":
    main()
