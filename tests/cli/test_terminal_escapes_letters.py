"""Dead letters are listed whatever is in them, and their text does nothing to a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from shared import bus
from shared.contract import names, topology
from tests.support.escapes import ACTIVE, EVIL, assert_inert, tidegate
from tests.support.examples import examples
from tests.support.servers import raw_messages as raw
from tidegate.local.server import NatsServer


async def test_dead_letters_with_any_content_are_listed(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    evil = {"Dlq-Stream": EVIL, "Dlq-Subject": EVIL, "Dlq-Reason": EVIL, "Dlq-Time": EVIL}
    numbers = ("one", "", "-1", "1e9", "NaN", "\u0661", "9" * 19, "9" * 30, str(2**63), " 7 ", "0x7")
    for number in numbers:
        await js.publish("dlq.cv", b"x", headers=evil | {"Dlq-Seq": number, "Dlq-Deliveries": number, "A": EVIL})
    for service in (b"cv", b"nobody", b"a.b", b"\xff\x1b[2J"):
        for block in (b"NATS/1.0 404 \xff\r\n\r\n", b"NATS/1.0\r\nDlq-Reason: [/x]\r\nDlq-Seq: \xff\r\n\r\n"):
            await raw.store(admin, b"dlq." + service, block)
    await raw.store(admin, b"dlq.cv", raw.block([b"Status: 404"]))
    data: tuple[Any, ...] = (
        b"", b"{", b"\xff", b"[" * 100_000, b"null", b"3", b'{"stream_seq": 1e400}', b'{"stream_seq": "one"}',
        b'{"deliveries": NaN}', json.dumps({"stream": EVIL, "consumer": EVIL, "timestamp": EVIL}).encode(),
        b'{"stream_seq": 18446744073709551615, "deliveries": -5}',
    )  # fmt: skip
    for consumer in (b"MEDIA.cv", b"MEDIA", b"MEDIA.\x1b[2J", b"nowhere.nobody"):
        for payload in data:
            await raw.store(admin, f"{names.MAX_DELIVERIES}.".encode() + consumer, raw.block([]), payload)
    count = len(numbers) + 9 + 4 * len(data)
    piped = await tidegate(server, "dlq", "list")
    assert_inert(piped.stdout, lines=count)
    assert all(len(line.split("\t")) == 7 for line in piped.stdout.splitlines())
    as_json = (await tidegate(server, "dlq", "list", "--json")).stdout
    assert not ACTIVE.search(as_json)
    assert [json.loads(line)["seq"] for line in as_json.splitlines()] == list(range(1, count + 1))
    assert_inert((await tidegate(server, "dlq", "list", coloured=True)).stdout)
    replayed = await tidegate(server, "dlq", "replay", "--all", ok=False)
    assert not ACTIVE.search(replayed.stderr) and "and " in replayed.stderr


header_names = st.sampled_from(
    ["Dlq-Stream", "Dlq-Seq", "Dlq-Subject", "Dlq-Reason", "Dlq-Deliveries", "Dlq-Payload", "Dlq-Of", "Status", "A"]
)
values = st.one_of(
    st.binary(max_size=40),
    st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
    st.sampled_from([b"MEDIA", b"KV_credentials", b"absent", b"media.lobby", b"404", EVIL.encode()]),
).map(lambda value: re.sub(rb"[\r\n]", b" ", value))
blocks = st.one_of(
    st.lists(st.tuples(header_names, values), max_size=6).map(
        lambda lines: raw.block([name.encode() + b": " + value for name, value in lines])
    ),
    st.binary(max_size=30).map(lambda rest: b"NATS/1.0" + rest + b"\r\n\r\n"),
)
advisories = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["stream", "consumer", "stream_seq", "deliveries", "timestamp"]), inner),
    ),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())
letters = st.tuples(
    st.sampled_from([b"dlq.cv", b"dlq.webhook", b"dlq.x", f"{names.MAX_DELIVERIES}.MEDIA.cv".encode()]),
    blocks,
    st.one_of(st.binary(max_size=40), advisories),
)


@pytest.mark.slow
@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(letters, min_size=60, max_size=120))
def test_any_dead_letters_are_listed(tmp_path: Path, given: list[tuple[bytes, bytes, bytes]]) -> None:
    async def go() -> None:
        async with NatsServer(tmp_path / os.urandom(8).hex()) as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            try:
                await topology.apply(admin.jetstream(), topology.TopologySettings())
                for subject, block, payload in given:
                    await raw.store(admin, subject, block, payload)
                stored = (await admin.jetstream().stream_info(names.DLQ)).state.messages
            finally:
                await admin.close()
            piped = (await tidegate(server, "dlq", "list")).stdout
            assert len(piped.splitlines()) == stored and not ACTIVE.search(piped)
            as_json = (await tidegate(server, "dlq", "list", "--json")).stdout
            assert len([json.loads(line) for line in as_json.splitlines()]) == stored

    asyncio.run(go())


@pytest.mark.slow
async def test_ten_thousand_dead_letters_are_listed_in_little_memory(server: NatsServer, admin: Client) -> None:
    """300 MB of letters, and 65 MB that the process took at most where this was measured."""
    payload = b"x" * 1_000_000
    for n in range(300):
        await admin.publish("dlq.cv", payload, headers={"Dlq-Reason": "x", "Dlq-Seq": str(n)})
        if n % 20 == 0:
            await admin.flush()
    for n in range(9_699):
        await admin.publish("dlq.cv", b"x", headers={"Dlq-Reason": "x", "Dlq-Seq": str(n)})
    # A stream stores in order, and later than the server hears: once this is stored, all are.
    await admin.jetstream().publish("dlq.cv", b"x", headers={"Dlq-Reason": "x", "Dlq-Seq": "9699"}, timeout=30)
    peak = (
        "import re, sys; sys.argv[0] = 'tidegate'\n"
        "from tidegate.commands import tidegate\n"
        "try: tidegate()\n"
        "finally: print(*re.findall('VmHWM:(.*) kB', open('/proc/self/status').read()), file=sys.stderr)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", peak, "dlq", "list"],
        env=os.environ | server.environment("admin"), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10_000
    assert int(done.stderr.split()[-1]) < 150 * 1024, done.stderr
