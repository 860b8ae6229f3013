"""Cameras over TLS: which certificates ingest accepts, and how it reports the others. All of it is real."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nats.aio.client import Client

from services.ingest.camera.opening import open_source
from services.ingest.settings import Reaching
from shared.client import registry
from shared.contract import cameras, names
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video import footage
from tests.support.video.rtsp_listener import BASIC, LOGIN, listening
from tests.support.video.rtsp_server import secured, serving
from tests.support.waiting import until

__all__ = ["bus", "start"]

pytestmark = pytest.mark.xdist_group("ingest")

NAMES = ("localhost", "127.0.0.1")
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def rtsp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cameras")
    footage.make(folder / "video.mp4", gop=25)
    with serving(folder, folder / "log") as url:
        yield url


def written(ca: trustme.CA, path: Path) -> str:
    ca.cert_pem.write_to_path(path)
    return str(path)


def reasons(bus: Bus, state: str) -> dict[str, str]:
    return {e["camera"]: e["reason"] for e in bus.events if e["state"] == state}


async def test_a_certificate_is_checked_unless_the_camera_says_otherwise(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str, tmp_path: Path
) -> None:
    ours, stranger = trustme.CA(), trustme.CA()
    certificates = {
        "good": ours.issue_cert(*NAMES),
        "stranger": stranger.issue_cert(*NAMES),
        "other": ours.issue_cert("camera.example"),
        "expired": ours.issue_cert(*NAMES, not_before=LONG_AGO, not_after=LONG_AGO + dt.timedelta(days=30)),
    }
    async with AsyncExitStack() as opened:
        ports = {
            name: await opened.enter_async_context(secured(rtsp, c.configure_cert)) for name, c in certificates.items()
        }

        async def camera(name: str, certificate: str, host: str = "127.0.0.1", **fields: object) -> None:
            await add(admin, name, f"rtsps://{host}:{ports[certificate]}/video.mp4?play_count=0", **fields)

        await camera("by-ip", "good")
        await camera("by-name", "good", "localhost")
        await camera("stranger", "stranger")
        await camera("other-ip", "other")
        await camera("other-name", "other", "localhost")
        await camera("expired", "expired")
        await camera("unchecked", "stranger", verify_tls=False)
        ingest = start(INGEST_CA=written(ours, tmp_path / "ca.pem"))
        bad = {"stranger", "other-ip", "other-name", "expired"}
        good = {"by-ip", "by-name", "unchecked"}
        await until(lambda: bad <= reasons(bus, "offline").keys() and all(len(bus.of(name)) >= 2 for name in good))
    assert reasons(bus, "online").keys() == good
    for name, words in {
        "stranger": "is not trusted (unable to get local issuer certificate): name the file of its CA",
        "other-ip": "is not for 127.0.0.1: give the URL with a name that it is for",
        "other-name": "is not for localhost: give the URL with a name that it is for",
        "expired": "has expired: renew it on the camera",
    }.items():
        reports = reasons(bus, "offline")[name]
        assert words in reports and "--no-verify-tls" in reports, (name, reports)
    assert "INGEST_CA" in reasons(bus, "offline")["stranger"]
    assert (
        "its certificate is not checked: 'tidegate camera set unchecked --verify-tls'"
        in reasons(bus, "online")["unchecked"]
    )
    assert reasons(bus, "online")["by-ip"] == "video arrives"
    assert ingest.stop() == 0


def self_signed(folder: Path) -> tuple[str, str]:
    """Files of a self-signed certificate, as most cameras have one, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "camera.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "camera.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return str(folder / "camera.pem"), str(folder / "camera.key")


@pytest.mark.slow
async def test_a_self_signed_camera_is_trusted_by_its_own_certificate(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    async with secured(rtsp, lambda context: context.load_cert_chain(certificate, key)) as port:
        await add(admin, "lobby", f"rtsps://127.0.0.1:{port}/video.mp4?play_count=0")
        # No authority of this machine has signed it.
        first = start()
        await until(lambda: "is not trusted (self-signed certificate)" in reasons(bus, "offline").get("lobby", ""))
        assert first.stop() == 0
        start(INGEST_CA=certificate)
        await until(lambda: len(bus.of("lobby")) >= 2)
    assert reasons(bus, "online") == {"lobby": "video arrives"}


async def test_libav_finds_system_certificates_that_are_a_folder(
    rtsp: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uv's Python on Debian: it knows the folder there, and not the file in it, which libav needs."""
    ours = trustme.CA()
    written(ours, tmp_path / "ca-certificates.crt")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    async with secured(rtsp, ours.issue_cert("127.0.0.1").configure_cert) as port:
        camera, _ = cameras.new_camera(f"rtsps://127.0.0.1:{port}/video.mp4?play_count=0")
        (await asyncio.to_thread(open_source, camera, None, Reaching(5.0))).close()
    async with secured(rtsp, trustme.CA().issue_cert("127.0.0.1").configure_cert) as port:
        camera, _ = cameras.new_camera(f"rtsps://127.0.0.1:{port}/video.mp4?play_count=0")
        with pytest.raises(OSError):
            await asyncio.to_thread(open_source, camera, None, Reaching(5.0))


async def test_libav_checks_the_certificate_itself(rtsp: str, tmp_path: Path) -> None:
    """The check was of another connection: another server may answer the next."""
    ours, stranger = trustme.CA(), trustme.CA()
    reaching = Reaching(5.0, written(ours, tmp_path / "ca.pem"))
    for ca, name, trusted in (
        (ours, "127.0.0.1", True),
        (ours, "camera.example", False),
        (stranger, "127.0.0.1", False),
    ):
        async with secured(rtsp, ca.issue_cert(name).configure_cert) as port:
            camera, _ = cameras.new_camera(f"rtsps://127.0.0.1:{port}/video.mp4?play_count=0")
            if trusted:
                (await asyncio.to_thread(open_source, camera, None, reaching)).close()
            else:
                with pytest.raises(OSError):
                    await asyncio.to_thread(open_source, camera, None, reaching)
            unchecked = msgspec.structs.replace(camera, verify_tls=False)
            (await asyncio.to_thread(open_source, unchecked, None, reaching)).close()


async def test_no_password_goes_to_a_server_with_another_certificate(
    admin: Client, bus: Bus, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    ours, stranger = trustme.CA(), trustme.CA()
    async with AsyncExitStack() as opened:
        inner = await opened.enter_async_context(listening())
        theirs = stranger.issue_cert(*NAMES).configure_cert
        port = await opened.enter_async_context(secured(f"rtsp://{inner.address}", theirs))
        await add(admin, "lobby", f"rtsps://{LOGIN}@127.0.0.1:{port}/live")
        start(INGEST_CA=written(ours, tmp_path / "ca.pem"))
        await until(lambda: "is not trusted" in reasons(bus, "offline").get("lobby", ""))
        # An attacker who writes the entry, and answers for the camera, must not turn the check off.
        entry = await registry.read(admin.jetstream(), "lobby")
        forged = msgspec.structs.replace(entry, verify_tls=False)
        await (await admin.jetstream().key_value(names.CAMERAS)).put("lobby", cameras.encode(forged))
        await until(lambda: inner.heard)
        await until(lambda: "certificate is checked" in reasons(bus, "offline")["lobby"])
        assert not inner.saw_password, inner.heard
        await registry.change(admin.jetstream(), "lobby", {"verify_tls": False})
        await until(lambda: any(BASIC in request for request in inner.heard))


async def test_an_invalid_certificate_file_stops_ingest_with_its_setting(
    start: Callable[..., Ingest], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    ingest = start(INGEST_CA=str(tmp_path / "ca.pem"))
    await until(lambda: ingest.process.poll() not in (None, 0))
    assert "can't be used" in ingest.log and "INGEST_CA=" in ingest.log and "PEM" in ingest.log
