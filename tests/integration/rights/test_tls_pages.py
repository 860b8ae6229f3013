"""TLS of /healthz, /readyz and /metrics: access, and the effect of a slow client on others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import socket
import ssl
import threading
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from prometheus_client import REGISTRY, Gauge

from shared.runtime.errors import SettingError
from shared.runtime.pages import monitoring
from shared.runtime.pages import server as serving
from shared.runtime.settings import BusSettings
from shared.runtime.telemetry import Health
from tests.support.servers.authorities import authority, stranger
from tests.support.servers.certificates import Authority, answer
from tests.support.waiting import patience_s, until

__all__ = ["authority", "stranger"]


def test_pages_are_served_by_tls(authority: Authority, stranger: Authority) -> None:
    pair = authority.issue()
    port = monitoring.serve(BusSettings(metrics_cert=pair.cert, metrics_key=pair.key), Health())
    assert answer(f"https://localhost:{port}/metrics", authority.ca) == 200
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        answer(f"https://localhost:{port}/metrics", stranger.ca)
    with pytest.raises((URLError, ConnectionError)):
        urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=20)
    assert answer(f"https://localhost:{port}/healthz", authority.ca) == 200


def test_metrics_need_a_client_certificate_and_probes_need_none(authority: Authority, stranger: Authority) -> None:
    """A kubelet has no certificate."""
    pair, prometheus = authority.issue(), authority.issue("prometheus")
    asking = BusSettings(metrics_cert=pair.cert, metrics_key=pair.key, metrics_client_ca=authority.ca)
    root = f"https://localhost:{monitoring.serve(asking, Health())}"
    assert [answer(f"{root}/{page}", authority.ca) for page in ("healthz", "readyz", "metrics")] == [200, 503, 403]
    assert answer(f"{root}/metrics", authority.ca, prometheus) == 200
    with pytest.raises((URLError, OSError)):
        answer(f"{root}/metrics", authority.ca, stranger.issue("prometheus"))


def test_a_client_ca_without_a_certificate_is_refused(authority: Authority) -> None:
    with pytest.raises(SettingError, match="METRICS_CLIENT_CA is set and METRICS_CERT is not"):
        monitoring.serve(BusSettings(metrics_client_ca=authority.ca), Health())


def test_pages_use_a_renewed_certificate_once_it_is_usable(tmp_path: Path) -> None:
    before, after = Authority(tmp_path / "before"), Authority(tmp_path / "after")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    old, new = before.issue(), after.issue()
    shutil.copy(old.cert, cert)
    shutil.copy(old.key, key)
    port = monitoring.serve(BusSettings(metrics_cert=str(cert), metrics_key=str(key)), Health())
    url = f"https://localhost:{port}/metrics"
    assert answer(url, before.ca) == 200
    shutil.copy(new.cert, cert)
    assert answer(url, before.ca) == 200, "half of a pair is none"
    shutil.copy(new.key, key)
    assert answer(url, after.ca) == 200


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
def test_silent_clients_delay_no_probe(secured: bool, authority: Authority) -> None:
    """Regression: one such client made a kubelet end the pod."""
    pair = authority.issue()
    settings = BusSettings(metrics_cert=pair.cert, metrics_key=pair.key) if secured else BusSettings()
    port = monitoring.serve(settings, Health())
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        if secured:
            assert answer(f"https://localhost:{port}/healthz", authority.ca) == 200
        else:
            assert urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=20).status == 200


def pages(secured: bool, authority: Authority) -> tuple[str, ssl.SSLContext | None]:
    """The address of the pages, and the TLS context of a client."""
    if not secured:
        return f"http://localhost:{monitoring.serve(BusSettings(), Health())}", None
    pair = authority.issue()
    port = monitoring.serve(BusSettings(metrics_cert=pair.cert, metrics_key=pair.key), Health())
    return f"https://localhost:{port}", ssl.create_default_context(cafile=authority.ca)


def slow_client(url: str, context: ssl.SSLContext | None, says: bytes) -> socket.socket:
    """A client that has sent `says`, and reads nothing. Its buffer takes little of an answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(url.rpartition(":")[2])))
    if context and says:
        client = context.wrap_socket(client, server_hostname="localhost")
    client.sendall(says)
    return client


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("says", [b"", b"GET /healthz HTTP/1.1\r\nHost: ", b"GET /metrics HTTP/1.1\r\n\r\n"])
async def test_a_probe_takes_the_place_of_the_slowest_client(
    secured: bool, says: bytes, authority: Authority, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Regression: they took all places, and no probe got an answer."""
    monkeypatch.setattr(serving, "MOST_CLIENTS", 3)
    monkeypatch.setattr(serving, "REQUEST_S", math.inf)
    much = Gauge("test_much", "More than the buffers of a connection hold.", ["text"])
    for n in range(1000):
        much.labels(f"{n}" + 10_000 * "x")
    url, context = pages(secured, authority)
    before = threading.active_count()
    with contextlib.ExitStack() as slow:
        slow.callback(REGISTRY.unregister, much)
        for _ in range(3):
            slow.enter_context(slow_client(url, context, says))
        for _ in range(10):
            with urllib.request.urlopen(f"{url}/healthz", timeout=20, context=context) as page:
                assert page.status == 200
        await until(lambda: threading.active_count() <= before + 3)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_a_client_that_sends_single_bytes_is_closed(
    secured: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 1.0)
    url, context = pages(secured, authority)
    async with asyncio.timeout(patience_s()):
        with contextlib.suppress(OSError), slow_client(url, context, b"GET /") as client:
            while True:
                client.sendall(b"x")
                await asyncio.sleep(0.02)


async def test_hanging_metrics_delay_no_probe() -> None:
    go_on, url = threading.Event(), f"http://localhost:{monitoring.serve(BusSettings(), Health())}"
    hanging = Gauge("test_hanging", "Waits.")
    hanging.set_function(lambda: float(go_on.wait()))

    def status(page: str) -> int:
        try:
            return int(urllib.request.urlopen(f"{url}/{page}", timeout=20).status)
        except HTTPError as e:
            return e.code
        except OSError:  # it is in the queue
            return 0

    with contextlib.ExitStack() as scraping:
        scraping.callback(REGISTRY.unregister, hanging)
        scraping.callback(go_on.set)
        for _ in range(2 * serving.MOST_CLIENTS):
            scraping.enter_context(slow_client(url, None, b"GET /metrics HTTP/1.1\r\n\r\n"))
        await until(lambda: status("metrics") == 503)
        assert status("healthz") == 200
        go_on.set()
        await until(lambda: status("metrics") == 200)


async def test_a_flood_of_clients_takes_only_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", math.inf)
    port = monitoring.serve(BusSettings(), Health(limit_s=math.inf))
    before = threading.active_count()

    def answers() -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=20).status == 200)
        except OSError:
            return False

    with contextlib.ExitStack() as silent:
        for _ in range(2 * serving.MOST_CLIENTS):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        # The server closes half of them, while they keep their side open.
        await until(answers)
        await until(lambda: threading.active_count() <= before + serving.MOST_CLIENTS)


def test_prometheus_is_configured_for_tls(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue()
    settings = BusSettings(metrics_cert=pair.cert, metrics_key=pair.key, metrics_targets=str(tmp_path / "targets"))
    monitoring.tell_prometheus(settings, "cv", 9102)
    (entry,) = json.loads((tmp_path / "targets/cv.json").read_text())
    assert entry["labels"].items() >= {"service": "cv", "replica": "cv", "__scheme__": "https"}.items()
