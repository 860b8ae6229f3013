"""Two tenants on one server: neither reaches the other, and neither takes more than its quota."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import nats
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.contract import names
from shared.contract.rights import accounts as contract
from shared.contract.rights.accounts import Tenant
from tests.support.processes.command_line import COMMAND
from tests.support.servers.own_server import OwnServer, accounts
from tests.support.worlds import attacks
from tests.support.worlds.attacks import Try
from tidegate.local import tenants

TAKEN = b"operator:S3cretPass"


async def connect(server: OwnServer, tenant: str, identity: str) -> Client:
    """As a script that takes no part in the checks."""

    async def ignore(error: Exception) -> None:
        """Ignore refusals of the server: only the effect counts."""

    s = server.settings(contract.user_of(tenant, identity))
    return await nats.connect(
        s.nats_url, user=s.nats_user, password=s.nats_password, inbox_prefix=f"_INBOX_{identity}".encode(),
        error_cb=ignore, pending_size=64 * 1024 * 1024,
    )  # fmt: skip


def everything(identity: str) -> list[Try]:
    """All attempts within one account, and for `admin`, which may do all of them, the largest possible requests."""
    if identity != "admin":
        tries = [*attacks.direct(identity, f"_INBOX_{identity}.x"), *attacks.by_header(identity)]
        return tries + (list(attacks.by_reply(identity)) if identity == "cv" else [])
    calls = [(f"{names.API}.{call}", body) for call, body in attacks.calls("_INBOX_admin.x")]
    replies = [subject for subject, _ in calls] + attacks.subjects()
    return [
        *(Try(subject.replace(names.API, prefix), body.encode(), "_INBOX_admin.x")
          for subject, body in calls if "STREAM.DELETE" not in subject
          for prefix in (names.API, names.IMPORTED_API, "$JS.GLOBEX.API", "$JS.hub.API")),
        *(Try(f"{prefix}.{subject}", b"forged", reply)
          for subject in attacks.subjects() for prefix in ("GLOBEX", "GLOBEX-cv") for reply in ("", "svc.ask")),
        *(Try(subject, b"forged", reply) for subject in ("svc.ask", "$JS.API.INFO") for reply in replies),
        *(Try(f"$SYS.REQ.ACCOUNT.GLOBEX.{what}", b"{}", "_INBOX_admin.x") for what in ("JSZ", "INFO", "CONNZ")),
    ]  # fmt: skip


@pytest.mark.slow
async def test_no_tenant_reaches_another(tmp_path: Path) -> None:
    accounts(tmp_path, "--tenant", "ACME", "--max-store", "100GB")
    accounts(tmp_path, "--tenant", "GLOBEX")
    async with OwnServer(tmp_path) as server:
        for tenant in ("ACME", "GLOBEX"):
            done = await server.tidegate("setup", user=f"{tenant}-admin")
            assert done.returncode == 0, done.stderr
        owner = await connect(server, "GLOBEX", "admin")
        js = owner.jetstream()
        for subject in attacks.streams().values():
            await js.publish(subject, TAKEN)
        for lasting in (names.LEASES, names.PARTITIONS):
            config = (await js.stream_info(f"KV_{lasting}")).config
            config.max_age = 3600.0  # they would expire during the test
            await js.update_stream(config)
        before, heard = await attacks.state(js), list[str]()

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        read = list[bytes]()

        async def take(message: Msg) -> None:
            read.append(message.data)

        await owner.subscribe(">", cb=hear)
        await owner.flush()
        sent = 0
        for identity in contract.Tenant().users:
            client = await connect(server, "ACME", identity)
            await client.subscribe(f"_INBOX_{identity}.x", cb=take)
            sent += await attacks.send(client, everything(identity))
            await client.close()
        await owner.flush()
        # The owner's own requests for the state are not messages of another account.
        own = "$JS.EVENT.ADVISORY.API", "$JS.S.", "_INBOX_admin"
        alien = [subject for subject in heard if not subject.startswith(own)]
        assert (sent > 10_000, alien) == (True, [])
        assert await attacks.state(js) == before
        assert [data for data in read if TAKEN in data or b"GLOBEX" in data] == []
        await owner.close()


async def test_every_right_works_in_a_tenant(tmp_path: Path) -> None:
    """Services need only the user's name; only its own viewers receive an event of a tenant."""
    accounts(tmp_path, "--tenant", "ACME")
    accounts(tmp_path, "--tenant", "GLOBEX")
    async with OwnServer(tmp_path) as server:
        heard: dict[str, list[bytes]] = {"ACME": [], "GLOBEX": []}
        clients = []
        for tenant in heard:
            assert (await server.tidegate("setup", user=f"{tenant}-admin")).returncode == 0
            viewer = await bus.connect(server.settings(f"{tenant}-viewer"), "viewer")

            async def hear(message: Msg, tenant: str = tenant) -> None:
                heard[tenant].append(message.data)

            await viewer.subscribe("events.>", cb=hear)
            await viewer.flush()
            clients.append(viewer)
        for tenant in heard:
            cv = await bus.connect(server.settings(f"{tenant}-cv"), "cv")
            ack = await bus.publish(cv, cv.jetstream(), "events.detections.x", tenant.encode(), {"Nats-Msg-Id": "1"})
            assert ack.seq == 1
            await cv.close()
        for viewer in clients:
            await viewer.flush()
            await viewer.close()
        assert heard == {"ACME": [b"ACME"], "GLOBEX": [b"GLOBEX"]}


async def test_the_quota_holds_and_is_named(tmp_path: Path) -> None:
    accounts(tmp_path, "--tenant", "ACME", "--max-store", "1440MB", "--max-streams", "29")
    accounts(tmp_path, "--tenant", "SMALL", "--max-store", "20MB", "--max-streams", "2", "--max-consumers", "1")
    async with OwnServer(tmp_path) as server:
        done = await server.tidegate("setup", user="ACME-admin")
        assert done.returncode == 1
        assert "stream MEDIA can't be set up: insufficient storage" in done.stderr, done.stderr
        assert "lower MEDIA_MAX_BYTES" in done.stderr and "--max-store" in done.stderr
        less = {f"{stream}_MAX_BYTES": str(10 * 2**20) for stream in ("MEDIA", "EVENTS", "DLQ", "PICTURES")}
        done = await server.tidegate("setup", user="ACME-admin", **less)
        assert done.returncode == 0, done.stderr
        done = await server.tidegate("setup", user="SMALL-admin", **(less | {"MEDIA_MAX_BYTES": "1000000"}))
        assert done.returncode == 1 and "maximum number of streams reached" in done.stderr, done.stderr
        assert "--max-streams" in done.stderr
        small = await connect(server, "SMALL", "admin")
        js = small.jetstream()
        for info in await js.streams_info():
            await js.delete_stream(str(info.config.name))
        await js.add_stream(name="A", subjects=["a"])
        with pytest.raises(nats.js.errors.APIError, match="memory"):
            await js.add_stream(name="M", subjects=["m"], storage="memory")
        await js.add_consumer("A", durable_name="one")
        with pytest.raises(nats.js.errors.APIError, match="maximum consumers limit"):
            await js.add_consumer("A", durable_name="two")
        stored = 0
        with pytest.raises(nats.js.errors.APIError, match=r"resource limits exceeded|storage"):
            while stored < 40:
                await js.publish("a", bytes(2**20))
                stored += 1
        assert stored <= 20
        await small.close()
        # The other tenant is unchanged.
        other = await connect(server, "ACME", "admin")
        await other.jetstream().publish("media.lobby", bytes(2**20))
        await other.close()


async def test_a_quota_bounds_what_the_server_does_not_count(tmp_path: Path) -> None:
    """400 streams and 1000 consumers, with long descriptions, took 181 MB of disk and 390 MB of memory, uncounted."""
    accounts(tmp_path, "--tenant", "ACME", "--max-store", "1440MB")
    async with OwnServer(tmp_path) as server:
        less = {f"{stream}_MAX_BYTES": str(10 * 2**20) for stream in ("MEDIA", "EVENTS", "DLQ", "PICTURES")}
        done = await server.tidegate("setup", user="ACME-admin", **less)
        assert done.returncode == 0, done.stderr
        acme = await connect(server, "ACME", "admin")
        js = acme.jetstream()
        with pytest.raises(nats.js.errors.APIError, match="maximum number of streams"):
            for n in range(100):
                await js.add_stream(name=f"S{n}", subjects=[f"s{n}"])
        with pytest.raises(nats.js.errors.APIError, match="maximum consumers limit"):
            for n in range(200):
                await js.add_consumer("S0", durable_name=f"c{n}")
        await acme.close()


def test_users_and_passwords_of_tenants(tmp_path: Path) -> None:
    """A new tenant leaves existing passwords and quotas unchanged; invalid names are refused."""
    first = accounts(tmp_path)
    assert "NATS_USER=admin NATS_PASSWORD_FILE=secrets/admin tidegate setup" in first
    admin = (tmp_path / "secrets/admin").read_text()
    second = accounts(tmp_path, "--tenant", "ACME", "--max-store", "2TB")
    assert "NATS_USER=ACME-admin" in second and "kept" in second
    accounts(tmp_path, "--tenant", "ACME", "--max-streams", "30")
    assert tenants.read(tmp_path / "secrets") == (Tenant(), Tenant(name="ACME", max_store=2 * 2**40, max_streams=30))
    assert (tmp_path / "secrets/admin").read_text() == admin
    block = (tmp_path / "secrets/accounts.conf").read_text()
    found = json.loads(re.sub("^accounts: ", "", block))
    users = [user["user"] for account in found.values() for user in account["users"]]
    assert len(users) == len(set(users)) and {"cv", "ACME-cv"} <= set(users)
    assert set(users) == {p.name for p in (tmp_path / "secrets").iterdir()} - {
        ".gitignore",
        ".lock",
        "accounts.conf",
        "tenants.json",
    }
    limits = {"max_mem": 0, "max_store": 2 * 2**40, "max_streams": 30, "max_consumers": 100}
    assert (found["TIDEGATE"]["jetstream"], found["ACME"]["jetstream"]) == ("enabled", limits)
    others = [name for name, account in found.items() if "jetstream" in account]
    assert others == ["TIDEGATE", "ACME"]
    for account in found.values():
        sources = [next(iter(each.values()))["account"] for each in account["imports"]]
        assert len({source.partition("-")[0] for source in sources}) <= 1


@pytest.mark.parametrize("name", ["acme", "A-B", "A.B", "", "$SYS", "A" * 33, "A\n"])
def test_unusable_tenants_are_refused(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [*COMMAND, "accounts", "secrets", "--tenant", name], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "can't be used" in done.stderr
    assert not (tmp_path / "secrets/tenants.json").exists()


def test_a_folder_of_other_things_stays_unchanged(tmp_path: Path) -> None:
    """Otherwise a server could not read its configuration there, and its repository would ignore it."""
    (tmp_path / "nats.conf").write_text("port: 4222")
    tmp_path.chmod(0o755)
    done = subprocess.run([*COMMAND, "accounts", "."], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "has other files in it: name a folder of its own" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["nats.conf"] and tmp_path.stat().st_mode & 0o777 == 0o755
    # Existing passwords are not foreign files, and neither are later additions to ours.
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/cv").write_text("mine")
    (tmp_path / "secrets/webhook-url").write_text("https://example.org")
    accounts(tmp_path)
    accounts(tmp_path, "--tenant", "ACME")
    assert (tmp_path / "secrets/cv").read_text() == "mine"
