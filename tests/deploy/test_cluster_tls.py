"""`tidegate cluster init --tls`: what the component tls mounts, as cert-manager makes it; by real servers."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from shared import bus
from shared.runtime import install
from shared.runtime.errors import BusError, SettingError
from tests.support.kube.deploy_checks import check_builtin_kinds
from tests.support.kube.deploy_manifests import DEPLOY, Document, build, documents, of, overlay, pod_of, secret_names
from tests.support.servers.certificates import Authority, Pair
from tests.support.servers.nats_pods import NatsPods, are_one, connected
from tests.support.waiting import until
from tests.support.without_extras import python, without
from tidegate.cluster import issuing
from tidegate.commands import tidegate

pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("deploy")]

CERT_MANAGER = DEPLOY / "kubernetes/tls/cert-manager/certificates.yaml"
USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
ENDPOINTS = {"tidegate-webhook", "tidegate-hub"}
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def init(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(tidegate, ["cluster", "init", str(folder), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    secrets = tmp_path_factory.mktemp("tls") / "secrets"
    init(secrets, "--tls")
    return secrets


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """The demand form with all that has to do with TLS."""
    components = [f"kubernetes/{name}" for name in ("nats", "webhook", "console", "recorder", "pictures", "tls")]
    return overlay(tmp_path_factory.mktemp("overlay"), "h100/demand", *components, "keda/demand/mtls")


def loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


# ---- what is made


def test_every_secret_of_an_overlay_with_tls_is_created(folder: Path, docs: list[Document]) -> None:
    built = of(build(folder), "Secret")
    check_builtin_kinds(list(built.values()))
    needed = set(secret_names(docs)) - ENDPOINTS
    assert "nats-tls" in needed and "tidegate-scaler-client" in needed
    # Prometheus has no pod in these manifests.
    assert needed | {"tidegate-tls-prometheus"} == set(built)
    signed = {name: d["data"] for name, d in built.items() if d["type"] == "kubernetes.io/tls"}
    assert set(signed) == {c["metadata"]["name"] for c in documents(CERT_MANAGER.read_text())}
    for name, data in signed.items():
        given = {key: base64.b64decode(value) for key, value in data.items()}
        files = {key: folder / "tls" / name / key for key in ("tls.crt", "tls.key")} | {"ca.crt": folder / "tls/ca.crt"}
        assert given == {key: path.read_bytes() for key, path in files.items()}
    everything = yaml.safe_dump(list(built.values()))
    assert base64.b64encode((folder / "tls/ca.key").read_bytes()).decode() not in everything.replace("\n", "")


@pytest.mark.parametrize("certificate", documents(CERT_MANAGER.read_text()), ids=lambda d: d["metadata"]["name"])
def test_a_certificate_has_the_form_of_cert_manager(certificate: Document, folder: Path) -> None:
    built = loaded(folder / "tls" / certificate["spec"]["secretName"] / "tls.crt").extensions
    names = built.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert names == certificate["spec"]["dnsNames"]
    usages = set(built.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == {USAGES[usage] for usage in certificate["spec"]["usages"]}
    key = loaded(folder / "tls" / certificate["spec"]["secretName"] / "tls.crt").public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.key_size == certificate["spec"]["privateKey"]["size"]
    assert not built.get_extension_for_class(x509.BasicConstraints).value.ca


def is_for(folder: Path, secret: str, host: str) -> bool:
    """Return whether a client that trusts the CA accepts the server of this certificate as the host."""
    verifier = PolicyBuilder().store(Store([loaded(folder / "tls/ca.crt")])).build_server_verifier(x509.DNSName(host))
    try:
        verifier.verify(loaded(folder / "tls" / secret / "tls.crt"), [])
    except VerificationError:
        return False
    return True


def test_each_server_is_trusted_under_the_name_its_clients_use(folder: Path, docs: list[Document]) -> None:
    config = of(docs, "ConfigMap")["tidegate-nats"]["data"]
    routes = re.findall(r"@([a-z0-9.-]+):6222", (folder / "routes.conf").read_text())
    hosts = [urlsplit(config["url"]).hostname, config["monitoring"].partition(":")[0], *routes]
    (exporter,) = (c for c in pod_of(of(docs, "StatefulSet")["nats"])["containers"] if c["name"] == "exporter")
    hosts.append(urlsplit(exporter["args"][-1]).hostname)
    assert [host for host in hosts if not is_for(folder, "nats-tls", str(host))] == [] and len(hosts) == 6
    trigger = of(docs, "ScaledObject")["tidegate-cv"]["spec"]["triggers"][0]["metadata"]["url"]
    assert is_for(folder, "tidegate-scaler-tls", str(urlsplit(trigger).hostname))
    assert not is_for(folder, "nats-tls", "nats.example.org") and not is_for(folder, "tidegate-tls-cv", str(hosts[0]))


def test_only_the_owner_reads_the_files_and_no_key_is_printed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        output = init(tmp_path / "secrets", "--tls")
    finally:
        os.umask(before)
    tls = tmp_path / "secrets/tls"
    assert {path.stat().st_mode & 0o777 for path in tls.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tls, *tls.rglob("*")) if path.is_dir()} == {0o700}
    assert "17 certificates made (nats-tls, " in output and "PRIVATE" not in output
    written = "".join((tmp_path / "secrets" / name).read_text() for name in ("kustomization.yaml", "namespace.yaml"))
    keys = [path.read_text().splitlines()[1] for path in tls.rglob("*.key")]
    assert len(set(keys)) == 18 and not [key for key in keys if key in output + written]


def test_a_folder_stays_with_or_without_certificates(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    assert "certificate" not in init(secrets)
    assert "certificate" not in init(secrets) and not (secrets / "tls").exists()
    assert "17 certificates made" in init(secrets, "--tls")
    before = {path: path.read_bytes() for path in (secrets / "tls").rglob("*.*")}
    for again in (init(secrets), init(secrets, "--tls"), init(secrets, "--rotate", "cv")):
        assert "0 certificates made\n" in again and "valid until" in again
    assert {path: path.read_bytes() for path in (secrets / "tls").rglob("*.*")} == before
    assert "nats-tls" in of(build(secrets), "Secret")


def test_a_missing_extra_is_reported_and_nothing_is_created(tmp_path: Path) -> None:
    base = without(tmp_path / "packages", "cryptography")
    done = python(base, "-m", "tidegate", "cluster", "init", str(tmp_path / "secrets"), "--tls")
    assert done.stderr.endswith(f"cryptography, which is not installed: {install.command('tls')}\n")
    assert done.returncode == 1 and {p.name for p in (tmp_path / "secrets").iterdir()} <= {".lock", "tenants.json"}
    assert python(base, "-m", "tidegate", "cluster", "init", str(tmp_path / "secrets")).returncode == 0


# ---- renewal


def write(folder: Path, days: float) -> issuing.Issued:
    return issuing.write(folder, "tidegate", NOW + dt.timedelta(days=days))


def test_certificates_are_renewed_in_the_last_third_of_their_life(tmp_path: Path) -> None:
    first = write(tmp_path, 0)
    ca = (tmp_path / "tls/ca.crt").read_bytes()
    assert len(first.secrets) == 17 and first.until == NOW + dt.timedelta(days=365)
    remaining = write(tmp_path, 240)
    assert remaining.secrets == [] and remaining.until == first.until
    renewed = write(tmp_path, 245)
    assert renewed.secrets == first.secrets and renewed.until == NOW + dt.timedelta(days=245 + 365)
    # Clients that trust the CA still trust it.
    assert (tmp_path / "tls/ca.crt").read_bytes() == ca
    assert loaded(tmp_path / "tls/nats-tls/tls.crt").verify_directly_issued_by(loaded(tmp_path / "tls/ca.crt")) is None
    # The printed limits are the limits that the renewal applies.
    assert write(tmp_path, 245 + (renewed.renewed_from - NOW).days - 245 - 1).secrets == []
    assert write(tmp_path, (renewed.renewed_from - NOW).days + 1).secrets == first.secrets


def test_an_invalid_certificate_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, 0)
    tls = tmp_path / "tls"
    (tls / "nats-tls/tls.key").write_bytes((tls / "tidegate-tls-cv/tls.key").read_bytes())  # killed between two files
    shutil.copytree(tls / "tidegate-tls-cv", tls / "tidegate-tls-vlm", dirs_exist_ok=True)  # another's
    (tls / "tidegate-tls-embed/tls.crt").write_text("")
    shutil.rmtree(tls / "tidegate-tls-search")
    foreign = Authority(tmp_path / "foreign").issue("tidegate-ingest")
    for source, name in zip(foreign, ("tls.crt", "tls.key"), strict=True):
        shutil.copy(source, tls / "tidegate-tls-ingest" / name)
    bad = {"nats-tls", *(f"tidegate-tls-{name}" for name in ("vlm", "embed", "search", "ingest"))}
    assert set(write(tmp_path, 1).secrets) == bad and write(tmp_path, 1).secrets == []


def test_no_certificate_outlives_the_ca_and_its_end_is_reported(tmp_path: Path) -> None:
    write(tmp_path, 0)
    end = loaded(tmp_path / "tls/ca.crt").not_valid_after_utc
    assert end == NOW + dt.timedelta(days=3650)
    assert write(tmp_path, 3500).until == end
    with pytest.raises(SettingError, match=r"ca\.crt ended on 2036-10-29\. .* move \S+/tls away"):
        write(tmp_path, 3650)


@pytest.mark.parametrize("harm", ["gone", "another", "no key"])
def test_a_ca_whose_key_is_lost_is_not_replaced(harm: str, tmp_path: Path) -> None:
    """No client would trust a new CA."""
    write(tmp_path, 0)
    key, ca = tmp_path / "tls/ca.key", (tmp_path / "tls/ca.crt").read_bytes()
    if harm == "another":
        key.write_bytes((tmp_path / "tls/nats-tls/tls.key").read_bytes())
    elif harm == "no key":
        key.write_text("")
    else:
        key.unlink()
    with pytest.raises(SettingError, match=r"ca\.key is not the key of \S+ca\.crt, .*put both back"):
        write(tmp_path, 300)
    assert (tmp_path / "tls/ca.crt").read_bytes() == ca


# ---- the servers of the component, by their own configuration


@pytest.fixture
def servers(folder: Path, docs: list[Document], tmp_path: Path) -> Iterator[NatsPods]:
    config = of(docs, "ConfigMap")["nats"]["data"]
    files = {f"nats/{name}": config[name] for name in ("nats.conf", *(n for n in config if n != "nats.conf"))}
    pods = NatsPods(tmp_path, folder, files, mounts=["nats-tls"])
    yield pods
    pods.stop()


@pytest.mark.slow
async def test_three_servers_of_the_component_form_a_cluster_over_tls(servers: NatsPods, tmp_path: Path) -> None:
    await are_one(servers)
    for identity, pod in (("cv", "cv"), ("embed", "embed-queries"), ("vlm-front", "vlm-front"), ("webhook", "webhook")):
        async with connected(servers.settings(identity, f"tidegate-tls-{pod}"), identity) as client:
            assert client.is_connected
    await who_does_not_get_in(servers, Authority(tmp_path / "stranger").issue("tidegate-cv"))
    # A client that speaks plain text gets no answer.
    with pytest.raises(OSError):
        await asyncio.to_thread(servers.page, "/healthz", scheme="http")


async def who_does_not_get_in(servers: NatsPods, stranger: Pair) -> None:
    cv = "tidegate-tls-cv"
    refused = {
        "refuses the client certificate": {"nats_cert": stranger.cert, "nats_key": stranger.key},
        "asks for a client certificate": {"nats_cert": "", "nats_key": ""},
        "is not trusted .*not valid for '127.0.0.1'": {"nats_url": f"tls://127.0.0.1:{servers.clients[0]}"},
        "is not trusted": {"nats_ca": ""},
        "(?i)password": {"nats_password": "wrong"},
    }
    for reports, given in refused.items():
        with pytest.raises(BusError, match=reports):
            await bus.connect(servers.settings("cv", cv, **given), "cv", timeout_s=10)
    with pytest.raises(SettingError, match="unsuitable certificate purpose"):
        await bus.connect(servers.settings("cv", "tidegate-scaler-tls"), "cv", timeout_s=10)


def joined(servers: NatsPods) -> set[str]:
    """Return the servers to which the first one has a route."""
    return {route["remote_name"] for route in json.loads(servers.page("/routez"))["routes"]}


@pytest.mark.slow
async def test_a_server_with_the_password_and_a_foreign_certificate_does_not_join(
    servers: NatsPods, tmp_path: Path
) -> None:
    """The server trusts the CA, as any process with `ca.crt` can."""
    servers.start(0)
    servers.start(1)
    servers.start(2, Authority(tmp_path / "stranger").issue("localhost"))
    await until(servers.is_ready)
    # Each of the two connects to the other.
    await until(lambda: "signed by unknown authority" in servers.log(0))
    await until(lambda: re.search("bad certificate|unknown certificate", servers.log(2)))
    await until(lambda: joined(servers) == {"nats-1"})


@pytest.mark.slow
async def test_a_restart_ends_once_a_server_has_found_the_others(servers: NatsPods, docs: list[Document]) -> None:
    """The next one goes when this one is started: else two of three would be away."""
    probes = pod_of(of(docs, "StatefulSet")["nats"])["containers"][0]
    started, alive = (probes[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "liveness"))
    await are_one(servers)
    await until(lambda: servers.is_ready(0, started))
    servers.stop()
    servers.start(0)
    await until(lambda: servers.is_ready(0, alive))
    for _ in range(20):
        assert not servers.is_ready(0, started)
        await asyncio.sleep(0.1)
    for n in (1, 2):
        servers.start(n)
    await until(lambda: servers.is_ready(0, started))
