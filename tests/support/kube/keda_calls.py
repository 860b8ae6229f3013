"""KEDA's calls to an external scaler, in a test: through a generated client, with open streams.

Example:
    async with KedaClient(address, folder) as keda:
        await keda.call("IsActive", {"service": "cv"})            # raises Refused
        async with keda.stream("StreamIsActive", {"service": "cv"}) as stream:
            stream.answers                                          # [(monotonic seconds, message)]
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.waiting import patience_s

# For a scaler's process.
ANY_PORTS = {"SCALER_PORT": "0", "SCALER_HTTP_PORT": "0"}
PROTO = ROOT / "services/scaler/externalscaler.proto"
Metadata = dict[str, str]


class Refused(Exception):
    """A call that failed: code is gRPC's name of the error."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


def generate(folder: Path) -> Path:
    """The output of grpcio-tools for the .proto."""
    folder.mkdir(parents=True, exist_ok=True)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}"]
    subprocess.run([*protoc, f"--python_out={folder}", f"--grpc_python_out={folder}", PROTO.name], check=True)
    return folder


class Stream:
    """answers: each with its time of arrival. ended: (code, details) after its end."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, Any]] = []
        self.ended: tuple[str, str] | None = None

    @property
    def results(self) -> list[bool]:
        return [message["result"] for _, message in self.answers]


class KedaClient:
    """See the module. tls: paths of the CA, and for mutual TLS of certificate and key."""

    def __init__(self, address: str, folder: Path, *tls: Path) -> None:
        self._command = [sys.executable, str(Path(__file__).parent / "keda_client.py"), str(folder), address]
        self._command += [str(path) for path in tls]
        self._ids = itertools.count()
        self._taking: dict[int, Callable[[dict[str, Any]], None]] = {}

    async def __aenter__(self) -> KedaClient:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()
        self._reading.cancel()

    async def call(self, method: str, metadata: Metadata, *, name: str = "cv", metric: str = "demand") -> Any:
        """The answer of a call, as JSON. Raises Refused."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._say(method, metadata, name, future.set_result, metric=metric)
        reply = await asyncio.wait_for(future, patience_s())
        if "code" in reply:
            raise Refused(reply["code"], reply["details"])
        return reply["answer"]

    @asynccontextmanager
    async def stream(self, method: str, metadata: Metadata, *, name: str = "cv") -> AsyncIterator[Stream]:
        """A stream that is open while the block runs."""
        stream = Stream()

        def take(reports: dict[str, Any]) -> None:
            if "code" in reports:
                stream.ended = reports["code"], reports["details"]
            else:
                stream.answers.append((reports["at"], reports["answer"]))

        id = self._say(method, metadata, name, take)
        yield stream
        if stream.ended is None:
            self._write({"id": id, "cancel": True})

    async def metric(self, metadata: Metadata, *, name: str = "cv") -> tuple[float, bool]:
        """One poll of KEDA: GetMetrics, then IsActive. Raises Refused."""
        value = (await self.call("GetMetrics", metadata, name=name))["metricValues"][0]
        active = await self.call("IsActive", metadata, name=name)
        return value["metricValueFloat"] or float(value["metricValue"]), active["result"]

    def _say(
        self, method: str, metadata: Metadata, name: str, take: Callable[[dict[str, Any]], None], **more: str
    ) -> int:
        id = next(self._ids)
        self._taking[id] = take
        self._write({"id": id, "method": method, "metadata": metadata, "name": name, **more})
        return id

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            reply = json.loads(line)
            self._taking[reply["id"]](reply)
