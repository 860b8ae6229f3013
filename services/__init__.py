"""The services: each is a process of its own, started as `python -m services.<name>`."""

import os
import signal
import sys

INTERRUPTED = 130

# While `python -m` looks for a service, its name in argv is "-m". Nothing has begun, so that nothing has to be put
# away: Ctrl-C ends a half-loaded service without a word. A loaded one hears it as it hears SIGTERM.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
