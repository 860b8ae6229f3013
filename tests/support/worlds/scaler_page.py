"""KEDA's requests to the scaler's page."""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import Any
from urllib.error import HTTPError

# KEDA's KEDA_HTTP_DEFAULT_TIMEOUT.
KEDA_WAITS_S = 3.0
Answer = tuple[int, dict[str, Any]]


def get(url: str, context: ssl.SSLContext | None = None, method: str = "GET") -> Answer:
    """(code, body). Raises URLError without an answer."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=KEDA_WAITS_S, context=context) as response:
            return response.status, json.load(response)
    except HTTPError as e:
        return e.code, json.load(e)
