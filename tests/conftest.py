"""Fixtures: a real nats-server for the session, with the real streams, consumers and identities."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings
from nats.aio.client import Client

import shared.models  # noqa: F401 - it keeps OpenVINO, which tests import themselves, from telling anybody
from shared import bus
from shared.contract import topology
from tests.support import examples
from tidegate.local.cluster import NatsCluster
from tidegate.local.server import NatsServer

pytest_plugins = ["tests.support.limits", "tests.support.shards"]

# A shell ignores Ctrl-C for what it runs in the background, and children inherit that: those we start must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test asserts on time, on busy machines least of all.
settings.register_profile("patient", settings.default, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--examples",
        type=int,
        default=examples.GATE,
        metavar="N",
        help="try at most N examples of each property; 0 tries as many as its test says (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    examples.most = config.getoption("--examples")
    most = examples.examples(settings.get_profile("patient").max_examples)
    settings.register_profile("capped", settings.get_profile("patient"), max_examples=most)
    settings.load_profile("capped")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests begin first: one that begins last keeps a process at work while the others have no more to do."""
    items.sort(key=lambda item: not item.get_closest_marker("slow"))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Short: pytest puts a test's name in the environment, and with 128 kB there no process can be started."""
    return f"{val[:20]!r}..{len(val)}" if isinstance(val, str | bytes) and len(val) > 1000 else None


@pytest.fixture(scope="session")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a nats-server that was set up. A copy of it costs half of what setting up another does."""
    data = tmp_path_factory.mktemp("set-up") / "nats"

    async def run() -> None:
        async with NatsServer(data) as s:
            client = await bus.connect(s.settings("admin"), "admin")
            await topology.apply(client.jetstream(), topology.TopologySettings())
            await client.close()

    asyncio.run(run())
    return data


@pytest_asyncio.fixture
async def server(tmp_path: Path, set_up: Path) -> AsyncIterator[NatsServer]:
    """A nats-server of this test's own, set up: it starts in some 50 ms, and tests may break it."""
    shutil.copytree(set_up, tmp_path / "nats")
    async with NatsServer(tmp_path / "nats") as s:
        yield s
        left = [task for task in asyncio.all_tasks() if "nats/aio" in repr(task)]
        assert not left, "a connection is left open, and its server goes"


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    """Three nats-servers of this test's own, set up with three copies of each stream: they start in 3 to 9 s."""
    async with NatsCluster(tmp_path / "nats") as c:
        client = await bus.connect(c.settings("admin"), "admin")
        await c.set_up(client)
        await client.close()
        yield c


@pytest_asyncio.fixture
async def admin(server: NatsServer) -> AsyncIterator[Client]:
    """A connection that may do everything."""
    client = await bus.connect(server.settings("admin"), "admin")
    yield client
    if not client.is_closed:
        await client.close()
