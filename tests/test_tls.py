"""TLS between clients and NATS, and of /metrics: whom each side believes, and what is said of certificates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import socket
import ssl
import struct
import threading
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from cryptography.hazmat.primitives import serialization
from prometheus_client import REGISTRY, Gauge

from shared import bus
from shared.runtime import child
from shared.runtime.errors import BusError, SettingError
from shared.runtime.pages import monitoring
from shared.runtime.pages import server as serving
from shared.runtime.ports import free_port, takes_connections
from shared.runtime.settings import BusSettings, load
from shared.runtime.telemetry import Health
from tests.certificates import Authority, Pair, answer
from tests.waiting import patience_s, until
from tidegate.local.server import find_executable


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


class Server:
    """A nats-server that takes user and password, and TLS as it is told."""

    def __init__(self, folder: Path, pair: Pair, **tls: Any) -> None:
        self.port = free_port(0)
        self._folder = folder
        self.secure(pair, **tls)

    def secure(self, pair: Pair, **tls: Any) -> None:
        block = {"cert_file": pair.cert, "key_file": pair.key, **tls}
        users = [{"user": "cv", "password": "s3cret"}]
        conf = {"host": "127.0.0.1", "port": self.port, "tls": block, "authorization": {"users": users}}
        (self._folder / "tls.conf").write_text(json.dumps(conf))

    def settings(self, **more: str) -> BusSettings:
        given = {"nats_url": f"tls://localhost:{self.port}", "nats_user": "cv", "nats_password": "s3cret"}
        return BusSettings(**given | more)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        log = self._folder / "nats.log"
        process = child.spawn([find_executable(), "-c", str(self._folder / "tls.conf")], log=log)
        try:
            while not await takes_connections(self.port):
                assert process.poll() is None, child.last_lines(log)
                await asyncio.sleep(0.02)
            yield
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


async def connects(settings: BusSettings) -> bool:
    client = await bus.connect(settings, "cv", timeout_s=10)
    connected = client.is_connected
    await client.close()
    return connected


# ---- to NATS


async def test_a_server_is_believed_by_its_ca(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    server = Server(tmp_path, authority.issue())
    async with server.running():
        assert await connects(server.settings(nats_ca=authority.ca))
        assert await connects(server.settings(nats_ca=authority.ca, nats_url=f"nats://localhost:{server.port}"))
        for given in ({}, {"nats_ca": stranger.ca}):
            with pytest.raises(BusError, match=r"is not trusted \(unable to get local issuer.* set NATS_CA"):
                await bus.connect(server.settings(**given), "cv")
        other = server.settings(nats_ca=authority.ca, nats_url=f"tls://127.0.0.1:{server.port}")
        with pytest.raises(BusError, match=r"is not trusted .*not valid for '127.0.0.1'.* name the server in NATS_URL"):
            await bus.connect(other, "cv")


async def test_a_server_may_ask_for_a_client_s_certificate(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    server = Server(tmp_path, authority.issue(), ca_file=authority.ca, verify=True)
    own, other = authority.issue("cv"), stranger.issue("cv")
    async with server.running():
        assert await connects(server.settings(nats_ca=authority.ca, nats_cert=own.cert, nats_key=own.key))
        with pytest.raises(BusError, match="asks for a client certificate: set NATS_CERT and NATS_KEY"):
            await bus.connect(server.settings(nats_ca=authority.ca), "cv")
        with pytest.raises(BusError, match=r"refuses the client certificate .* NATS_CERT and NATS_KEY"):
            await bus.connect(server.settings(nats_ca=authority.ca, nats_cert=other.cert, nats_key=other.key), "cv")


async def test_a_refusal_of_which_only_the_end_is_heard_is_named_too(tmp_path: Path, authority: Authority) -> None:
    """On a busy machine a server's word on a certificate may come after the end of its connection."""
    pair, own = authority.issue(), authority.issue("cv")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        info = {"server_id": "x", "version": "2.11.0", "max_payload": 1 << 20, "headers": True, "proto": 1}
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                connection.sendall(
                    b"INFO " + json.dumps(info | {"tls_required": True, "tls_verify": True}).encode() + b"\r\n"
                )
                secure = context.wrap_socket(connection, server_side=True)
                # Gone at once, and with what the client sends meanwhile.
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                secure.close()

    answering = asyncio.create_task(asyncio.to_thread(serve))
    settings = BusSettings(
        nats_url=f"tls://localhost:{listening.getsockname()[1]}", nats_ca=authority.ca, nats_cert=own.cert,
        nats_key=own.key,
    )  # fmt: skip
    with pytest.raises(BusError, match="as of a server that refuses the client certificate"):
        await bus.connect(settings, "cv", timeout_s=5)
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    await answering


async def test_a_websocket_speaks_tls_too(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    pair = authority.issue()
    server = Server(tmp_path, pair)
    port, path = free_port(0), tmp_path / "tls.conf"
    own = {"host": "127.0.0.1", "port": port, "tls": {"cert_file": pair.cert, "key_file": pair.key}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"websocket": own}))
    url = f"wss://localhost:{port}"
    async with server.running():
        assert await connects(server.settings(nats_ca=authority.ca, nats_url=url))
        with pytest.raises(BusError, match="is not trusted"):
            await bus.connect(server.settings(nats_ca=stranger.ca, nats_url=url), "cv", timeout_s=5)


async def test_keda_reads_the_monitoring_port_without_a_certificate(tmp_path: Path, authority: Authority) -> None:
    """Its trigger can show none, though every client of NATS has to."""
    monitoring_port = free_port(0)
    server = Server(tmp_path, authority.issue(), ca_file=authority.ca, verify=True)
    path = tmp_path / "tls.conf"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"https": f"127.0.0.1:{monitoring_port}"}))
    async with server.running():
        assert await asyncio.to_thread(answer, f"https://localhost:{monitoring_port}/jsz?acc=$G", authority.ca) == 200


@pytest.mark.parametrize("asked", [{"nats_url": "tls"}, {"nats_url": "nats", "nats_ca": "ca"}])
async def test_a_password_is_never_sent_where_tls_was_asked_for_and_is_not_offered(
    asked: dict[str, str], authority: Authority
) -> None:
    """Whoever sits between says that the server has no TLS."""
    heard = b""
    waits = asyncio.Event()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n')
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                heard += await reader.read(4096)
        writer.close()
        waits.set()

    listening = await asyncio.start_server(between, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    given = {"nats_url": f"{asked['nats_url']}://localhost:{port}"} | (
        {"nats_ca": authority.ca} if len(asked) > 1 else {}
    )
    with pytest.raises(BusError, match="offers no TLS, and NATS_URL, NATS_CA or NATS_CERT asks for it"):
        await bus.connect(BusSettings(nats_user="cv", nats_password="s3cret", **given), "cv", timeout_s=5)
    await waits.wait()
    assert heard == b""
    listening.close()


async def test_renewed_certificates_are_shown_when_it_connects_again(tmp_path: Path) -> None:
    before, after = Authority(tmp_path / "before"), Authority(tmp_path / "after")
    own, renewed = before.issue("cv"), after.issue("cv")
    files = [tmp_path / name for name in ("ca.pem", "tls.crt", "tls.key")]
    ca, cert, key = map(str, files)
    for source, target in zip((before.ca, *own), files, strict=True):
        shutil.copy(source, target)
    server = Server(tmp_path, before.issue(), ca_file=before.ca, verify=True)
    async with server.running():
        client = await bus.connect(server.settings(nats_ca=ca, nats_cert=cert, nats_key=key), "cv")
    for source, target in zip((after.ca, *renewed), files, strict=True):
        shutil.copy(source, target)
    server.secure(after.issue(), ca_file=after.ca, verify=True)
    async with server.running():
        await until(lambda: client.is_connected)
        await client.close()


def broken(case: str, authority: Authority, folder: Path) -> tuple[str, str]:
    """(certificate, key), of which something is wrong."""
    good, other = authority.issue(), authority.issue("other")
    if case == "no key":
        return good.cert, ""
    if case == "another's key":
        return good.cert, other.key
    if case == "expired":
        return tuple(authority.issue(from_day=-9, to_day=-1))
    if case == "not yet valid":
        return tuple(authority.issue(from_day=2))
    if case == "not there":
        return str(folder / "none.pem"), good.key
    if case == "a folder":
        return good.cert, str(folder)
    if case == "swapped":
        return good.key, good.cert
    key = serialization.load_pem_private_key(Path(good.key).read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "locked.key").write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"x")))
    return good.cert, str(folder / "locked.key")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no key", r"^{0}_CERT is set and {0}_KEY is not: set both"),
        ("another's key", r"^{0}_KEY=\S+ is not the key of {0}_CERT=\S+: "),
        ("expired", r"^{0}_CERT=\S+ can't be used: certificate has expired\. "),
        ("not yet valid", r"^{0}_CERT=\S+ can't be used: certificate is not yet valid\. "),
        ("not there", r"^{0}_CERT=\S+ can't be read \(no such file or directory\): "),
        ("a folder", r"^{0}_KEY=\S+ can't be read \(is a directory\): "),
        ("swapped", r"^{0}_CERT=\S+ has no certificate in it: "),
        ("locked", r"^{0}_CERT=\S+ and {0}_KEY=\S+ can't be used .* the key unencrypted"),
    ],
)
async def test_a_certificate_that_can_t_be_used_is_said_with_its_setting(
    case: str, said: str, authority: Authority, tmp_path: Path
) -> None:
    cert, key = broken(case, authority, tmp_path)
    with pytest.raises(SettingError, match=said.format("NATS")):
        await bus.connect(load(BusSettings, {"NATS_CERT": cert, "NATS_KEY": key}), "cv", timeout_s=patience_s())
    with pytest.raises(SettingError, match=said.format("METRICS")):
        monitoring.serve(load(BusSettings, {"METRICS_CERT": cert, "METRICS_KEY": key}), Health())


async def test_a_websocket_without_tls_is_refused_where_tls_is_asked_for(authority: Authority) -> None:
    with pytest.raises(SettingError, match=r"NATS_URL=ws://localhost:1 is without TLS, .*: give wss://"):
        await bus.connect(BusSettings(nats_url="ws://localhost:1", nats_ca=authority.ca), "cv", timeout_s=patience_s())


# ---- /healthz, /readyz, /metrics


def test_pages_are_served_by_tls(authority: Authority, stranger: Authority) -> None:
    pair = authority.issue()
    port = monitoring.serve(BusSettings(metrics_cert=pair.cert, metrics_key=pair.key), Health())
    assert answer(f"https://localhost:{port}/metrics", authority.ca) == 200
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        answer(f"https://localhost:{port}/metrics", stranger.ca)
    with pytest.raises((URLError, ConnectionError)):
        urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=20)
    assert answer(f"https://localhost:{port}/healthz", authority.ca) == 200


def test_metrics_are_for_who_shows_a_certificate_and_probes_for_all(authority: Authority, stranger: Authority) -> None:
    """A kubelet has none to show."""
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


def test_pages_show_a_renewed_certificate_once_it_can_be_used(tmp_path: Path) -> None:
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
def test_clients_that_say_nothing_keep_no_probe_waiting(secured: bool, authority: Authority) -> None:
    """One such client was enough for a kubelet to end the pod."""
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
    """Their address, and what a client speaks to it by."""
    if not secured:
        return f"http://localhost:{monitoring.serve(BusSettings(), Health())}", None
    pair = authority.issue()
    port = monitoring.serve(BusSettings(metrics_cert=pair.cert, metrics_key=pair.key), Health())
    return f"https://localhost:{port}", ssl.create_default_context(cafile=authority.ca)


def slow_client(url: str, context: ssl.SSLContext | None, says: bytes) -> socket.socket:
    """One that has said so much, and reads nothing. It has room for little of an answer."""
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
    """All places were theirs, and no probe got an answer."""
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
async def test_a_client_is_let_go_however_often_it_sends_a_byte(
    secured: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 1.0)
    url, context = pages(secured, authority)
    async with asyncio.timeout(patience_s()):
        with contextlib.suppress(OSError), slow_client(url, context, b"GET /") as client:
            while True:
                client.sendall(b"x")
                await asyncio.sleep(0.02)


async def test_metrics_that_hang_keep_no_probe_waiting() -> None:
    go_on, url = threading.Event(), f"http://localhost:{monitoring.serve(BusSettings(), Health())}"
    hanging = Gauge("test_hanging", "Waits.")
    hanging.set_function(lambda: float(go_on.wait()))

    def status(page: str) -> int:
        try:
            return int(urllib.request.urlopen(f"{url}/{page}", timeout=20).status)
        except HTTPError as e:
            return e.code
        except OSError:  # it is among those that wait
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


async def test_a_flood_of_clients_takes_no_more_than_its_share_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
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
        # Half of them are let go, while they keep their side open.
        await until(answers)
        await until(lambda: threading.active_count() <= before + serving.MOST_CLIENTS)


def test_prometheus_is_told_to_use_tls(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue()
    settings = BusSettings(metrics_cert=pair.cert, metrics_key=pair.key, metrics_targets=str(tmp_path / "targets"))
    monitoring.tell_prometheus(settings, "cv", 9102)
    (entry,) = json.loads((tmp_path / "targets/cv.json").read_text())
    assert entry["labels"] == {"service": "cv", "replica": "cv", "__scheme__": "https"}
