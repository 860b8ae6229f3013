"""The scaler's gRPC: TLS, its process, and its generated code."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from services.scaler.settings import ScalerSettings, credentials
from shared.runtime.errors import SettingError
from tests.support.kube.keda_calls import ANY_PORTS, KedaClient, Refused
from tests.support.servers.certificates import Authority
from tests.support.waiting import patience_s, until
from tests.support.worlds.scaler_service import CV, generated, running
from tidegate.local.server import NatsServer

__all__ = ["generated"]


async def test_streams_end_well_when_the_service_stops(server: NatsServer, generated: Path) -> None:
    async with KedaClient("127.0.0.1:1", generated) as nobody:
        with pytest.raises(Refused) as refused:
            await nobody.call("IsActive", CV)
        assert refused.value.code == "UNAVAILABLE"
    stopping = running(server)
    address = await stopping.__aenter__()
    async with (
        KedaClient(address, generated) as keda,
        keda.stream("StreamIsActive", CV) as active,
        keda.stream("StreamMetricSpec", CV) as specs,
    ):
        await until(lambda: active.answers and specs.answers)
        await stopping.__aexit__(None, None, None)
        await until(lambda: active.ended and specs.ended)
        assert active.ended == specs.ended == ("OK", "")


def write_certificates(folder: Path) -> Path:
    """A CA, the server's certificate and KEDA's own, as files."""
    folder.mkdir(exist_ok=True)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = ca.issue_cert("localhost")
    server.private_key_pem.write_to_path(str(folder / "key.pem"))
    for n, pem in enumerate(server.cert_chain_pems):
        pem.write_to_path(str(folder / "cert.pem"), append=n > 0)
    own = ca.issue_cert("keda")
    own.private_key_pem.write_to_path(str(folder / "keda-key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "keda.pem"))
    return folder


async def test_tls_and_mutual_tls(server: NatsServer, generated: Path, tmp_path: Path) -> None:
    folder = write_certificates(tmp_path)
    tls = {"scaler_tls_cert": str(folder / "cert.pem"), "scaler_tls_key": str(folder / "key.pem")}
    async with running(server, **tls) as address:
        async with KedaClient(address, generated, folder / "ca.pem") as keda:
            assert await keda.metric(CV) == (0.0, False)
        async with KedaClient(address, generated) as plain:
            with pytest.raises(Refused) as refused:
                await plain.call("IsActive", CV)
            assert refused.value.code == "UNAVAILABLE"
        # A renewed certificate, of another CA: in use from the next handshake on.
        folder2 = write_certificates(tmp_path / "new")
        for name in ("cert.pem", "key.pem"):
            (folder / name).write_bytes((folder2 / name).read_bytes())
        async with KedaClient(address, generated, folder2 / "ca.pem") as keda:
            assert await keda.metric(CV) == (0.0, False)
    async with running(server, **tls, scaler_client_ca=str(folder2 / "ca.pem")) as address:
        own = (folder2 / "ca.pem", folder2 / "keda.pem", folder2 / "keda-key.pem")
        async with KedaClient(address, generated, *own) as keda:
            assert await keda.metric(CV) == (0.0, False)
        stranger = (folder2 / "ca.pem", folder / "keda.pem", folder / "keda-key.pem")
        for credentials in ((folder2 / "ca.pem",), stranger):
            async with KedaClient(address, generated, *credentials) as keda:
                with pytest.raises(Refused) as refused:
                    await keda.call("IsActive", CV)
                assert refused.value.code == "UNAVAILABLE"


def test_half_a_tls_configuration_is_refused(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    old = Authority(tmp_path / "old").issue(from_day=-9, to_day=-1)
    for given, named in (
        ({"scaler_tls_cert": cert}, "SCALER_TLS_KEY"),
        ({"scaler_tls_key": key}, "SCALER_TLS_CERT"),
        ({"scaler_client_ca": cert}, "SCALER_CLIENT_CA"),
        ({"scaler_tls_cert": cert, "scaler_tls_key": str(tmp_path / "keda-key.pem")}, "SCALER_TLS_KEY"),
        ({"scaler_tls_cert": cert, "scaler_tls_key": "/none"}, "SCALER_TLS_KEY"),
        ({"scaler_tls_cert": old.cert, "scaler_tls_key": old.key}, "SCALER_TLS_CERT=.* has expired"),
        ({"scaler_tls_cert": cert, "scaler_tls_key": key, "scaler_client_ca": key}, "SCALER_CLIENT_CA"),
    ):
        with pytest.raises(SettingError, match=named):
            credentials(ScalerSettings(**given))
    assert credentials(ScalerSettings()) is None


async def test_the_process_serves_reports_and_drains(server: NatsServer, generated: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.scaler"],
            env=os.environ | server.environment("scaler") | ANY_PORTS,
            stderr=log,
        )
    try:
        text = (tmp_path / "log").read_text
        await until(lambda: re.search(r"address=(\S+:\d+)", text()))
        address = re.search(r"address=(\S+:\d+)", text())
        assert address
        async with KedaClient(address[1], generated) as keda, keda.stream("StreamIsActive", CV) as active:
            assert await keda.metric(CV) == (0.0, False)
            taken = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "services.scaler"],
                env=os.environ | server.environment("scaler") | ANY_PORTS | {"SCALER_PORT": address[1].split(":")[1]},
                capture_output=True,
                timeout=patience_s(),
                text=True,
            )
            assert taken.returncode == 2 and "SCALER_PORT" in taken.stderr
            process.send_signal(signal.SIGTERM)
            await until(lambda: active.ended)
            assert active.ended == ("OK", "")
        assert await asyncio.to_thread(process.wait, patience_s()) == 0
    finally:
        process.kill()
        process.wait()
