"""`python -m tidegate.whatif`: one request on standard input, lines of progress and an answer on standard output."""

from __future__ import annotations

import importlib.util
import os
import sys

import msgspec

from shared.contract.questions.whatif import Failed
from shared.runtime import install

# Errors quote unreadable input, which may be long.
MOST_ERROR = 500
NEEDED = ("numba", "numpy")


def main() -> None:
    # Each process of the pool has one core.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        failure = Failed(
            error=f"what would have been can't be simulated, as {missing[0]} is not installed: "
            f"{install.command('simulate')}"
        )
        sys.stdout.buffer.write(msgspec.json.encode(failure) + b"\n")
        sys.exit(2)
    sys.exit(_run())


def _run() -> int:
    from shared.runtime.errors import TidegateError
    from tidegate.whatif import limits
    from tidegate.whatif.answer import simulate
    from tidegate.whatif.progress import ProgressWriter
    from tidegate.whatif.requests import Refused

    limits.apply()
    with limits.pool() as pool, ProgressWriter(sys.stdout.buffer) as progress:
        try:
            progress.end(simulate(sys.stdin.buffer, pool, progress))
            return 0
        except (TidegateError, MemoryError, limits.Exceeded) as e:
            sentence = str(e) if isinstance(e, TidegateError) else limits.SENTENCE
            field = e.field if isinstance(e, Refused) else ""
            progress.end(Failed(error=sentence[:MOST_ERROR], field=field))
        # Do not wait for running simulations: they end with this process.
        os._exit(2)


if __name__ == "__main__":
    main()
