"""`python -m shared.runtime.probe`: whether the service of this container lives, for a HEALTHCHECK, which has no curl.

It asks /healthz at METRICS_PORT, by TLS where METRICS_CERT says so, and ends with 1 where it does not answer 200. The
standard library alone, as it runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIMEOUT_S = 4.0


def main() -> int:
    """Ask once; the exit status."""
    port = int(os.environ.get("METRICS_PORT") or 0)
    host = os.environ.get("METRICS_HOST") or "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    if os.environ.get("METRICS_CERT"):
        # The certificate is the service's own, for the name that others know it by: who it is, is not the question.
        context = ssl._create_unverified_context()  # noqa: S323
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        said = answer.read(200).decode(errors="replace").strip()
    except OSError as e:
        print(f"no answer at METRICS_PORT={port}: {e}")
        return 1
    print(said)
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
