"""`python -m shared.runtime.probe`: a HEALTHCHECK for this container's service, which has no curl.

It requests /healthz at METRICS_PORT, by TLS if METRICS_CERT is set, and exits with 1 unless the answer is 200. It only
imports the standard library, as it runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIMEOUT_S = 4.0


def main() -> int:
    """Probe once; return the exit status."""
    port = int(os.environ.get("METRICS_PORT") or 0)
    host = os.environ.get("METRICS_HOST") or "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    if os.environ.get("METRICS_CERT"):
        # The certificate is the service's own, for its external name: the probe needs no authentication.
        context = ssl._create_unverified_context()  # noqa: S323
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        body = answer.read(200).decode(errors="replace").strip()
    except OSError as e:
        print(f"no answer at METRICS_PORT={port}: {e}")
        return 1
    print(body)
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
