"""A page of metrics, and a server that answers with such pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """
# TYPE tidegate_segments_out_total untyped
tidegate_segments_out_total{service="cv",instance="10.0.0.1:80",job="cv"} 120 1700000000000
tidegate_segments_out_total{service="cv",instance="10.0.0.2:80",job="cv"} 80 1700000000000
tidegate_segments_out_total{service="embed",instance="10.0.0.3:80",job="embed"} 5 1700000000000
tidegate_working_seconds_total{service="cv",instance="10.0.0.1:80",job="cv"} 30 1700000000000
tidegate_working_seconds_total{service="cv",instance="10.0.0.2:80",job="cv"} 20.5 1700000000000
other_total{service="cv"} 9
"""


@contextmanager
def serving(pages: list[bytes], request: list[None]) -> Iterator[str]:
    """URL of a page that serves the first of `pages`; `request` grows by one for each answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if pages[0] else 500)
            self.end_headers()
            self.wfile.write(pages[0])
            request.append(None)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/federate"
    server.shutdown()
