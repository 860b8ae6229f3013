"""`tidegate`: the command line for people. Its commands are in `tidegate.commands`, which is loaded here."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

INTERRUPTED = 130
TERMINATED = 143


def main() -> NoReturn:
    """Run the command that was asked for, and exit with its code."""
    # Nothing has begun, so that nothing has to be put away: Ctrl-C ends a half-loaded program without a word.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    # Of a container it is the first process, which SIGTERM does not end by itself.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
    from tidegate.commands import tidegate

    tidegate.main(prog_name="tidegate")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
