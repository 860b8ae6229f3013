"""`python -m services.recorder`: from MEDIA into files that any player takes, until SIGTERM.

It reads each camera's video from MEDIA a minute behind live, never re-encodes it, and advances its position only once
a file is durable. Several processes share the cameras by leases.
"""

from __future__ import annotations

from shared.service import process

with process.needing("recorder"):
    from services.recorder.app import run
    from services.recorder.settings import RecorderSettings


if __name__ == "__main__":
    process.main("recorder", process.settings("recorder", RecorderSettings), run)
