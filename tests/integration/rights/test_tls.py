"""TLS between clients and NATS: the certificates that each side trusts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from shared import bus
from shared.runtime import child
from shared.runtime.errors import BusError, SettingError
from shared.runtime.pages import monitoring
from shared.runtime.ports import free_port, takes_connections
from shared.runtime.settings import BusSettings, load
from shared.runtime.telemetry import Health
from tests.support.servers.authorities import authority, stranger
from tests.support.servers.certificates import Authority, Pair, answer
from tests.support.waiting import patience_s, until
from tidegate.local.server import find_executable

__all__ = ["authority", "stranger"]


class Server:
    """A nats-server with user and password, and the TLS settings of its caller."""

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


async def test_a_server_is_trusted_by_its_ca(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
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


async def test_the_end_of_a_connection_is_no_warning(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(tmp_path, authority.issue())
    async with server.running():
        client = await bus.connect(server.settings(nats_ca=authority.ca), "cv")
        received = await client.subscribe("large")
        for _ in range(20):
            await client.publish("large", bytes(500_000))
        assert [len((await received.next_msg(timeout=60)).data) for _ in range(20)] == [500_000] * 20
    await until(lambda: not client.is_connected)
    await client.close()
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]


async def test_a_server_may_require_a_client_certificate(
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


async def test_a_refusal_that_only_closes_the_connection_is_named_too(tmp_path: Path, authority: Authority) -> None:
    """On a busy machine a server's alert about a certificate may come after the end of its connection."""
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
                # Close immediately, and drop what the client sends meanwhile.
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
    """Its trigger has no certificate, although every client of NATS needs one."""
    monitoring_port = free_port(0)
    server = Server(tmp_path, authority.issue(), ca_file=authority.ca, verify=True)
    path = tmp_path / "tls.conf"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"https": f"127.0.0.1:{monitoring_port}"}))
    async with server.running():
        assert await asyncio.to_thread(answer, f"https://localhost:{monitoring_port}/jsz?acc=$G", authority.ca) == 200


@pytest.mark.parametrize("tls", [{"nats_url": "tls"}, {"nats_url": "nats", "nats_ca": "ca"}])
async def test_a_password_is_never_sent_without_the_required_tls(tls: dict[str, str], authority: Authority) -> None:
    """An attacker in between claims that the server has no TLS."""
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
    given = {"nats_url": f"{tls['nats_url']}://localhost:{port}"} | ({"nats_ca": authority.ca} if len(tls) > 1 else {})
    with pytest.raises(BusError, match="offers no TLS, and NATS_URL, NATS_CA or NATS_CERT asks for it"):
        await bus.connect(BusSettings(nats_user="cv", nats_password="s3cret", **given), "cv", timeout_s=5)
    await waits.wait()
    assert heard == b""
    listening.close()


async def test_renewed_certificates_are_used_on_the_next_connection(tmp_path: Path) -> None:
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
    """An invalid (certificate, key)."""
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
    ("case", "text"),
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
async def test_an_unusable_certificate_is_reported_with_its_setting(
    case: str, text: str, authority: Authority, tmp_path: Path
) -> None:
    cert, key = broken(case, authority, tmp_path)
    with pytest.raises(SettingError, match=text.format("NATS")):
        await bus.connect(load(BusSettings, {"NATS_CERT": cert, "NATS_KEY": key}), "cv", timeout_s=patience_s())
    with pytest.raises(SettingError, match=text.format("METRICS")):
        monitoring.serve(load(BusSettings, {"METRICS_CERT": cert, "METRICS_KEY": key}), Health())


async def test_a_websocket_without_the_required_tls_is_refused(authority: Authority) -> None:
    with pytest.raises(SettingError, match=r"NATS_URL=ws://localhost:1 is without TLS, .*: give wss://"):
        await bus.connect(BusSettings(nats_url="ws://localhost:1", nats_ca=authority.ca), "cv", timeout_s=patience_s())
