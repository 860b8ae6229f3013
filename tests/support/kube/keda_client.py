"""A client of an external scaler that shares no code with it: generated from the .proto, in a process of its own.

    python keda_client.py FOLDER HOST:PORT [CA [CERT KEY]]        # FOLDER: where grpcio-tools wrote what it generated

One JSON object a line. In: {"id", "method", "name", "metadata", "metric"?, "cancel"?}. Out: {"id", "at", "answer"},
for streams one each time, and {"id", "at", "code", "details"} at the end of a stream or where a call fails. at: the
machine's monotonic clock.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

folder, address, *tls = sys.argv[1:]
sys.path.insert(0, folder)

import externalscaler_pb2 as pb  # type: ignore[import-not-found]  # noqa: E402
import externalscaler_pb2_grpc as rpc  # type: ignore[import-not-found]  # noqa: E402
import grpc  # noqa: E402
from google.protobuf.json_format import MessageToDict  # noqa: E402

writing = threading.Lock()
calls: dict[int, Any] = {}


def say(id: int, **what: object) -> None:
    with writing:
        print(json.dumps({"id": id, "at": time.monotonic(), **what}), flush=True)


def connect() -> grpc.Channel:
    # As KEDA does: one connection for all calls.
    if not tls:
        return grpc.insecure_channel(address)
    ca, *own = (Path(f).read_bytes() for f in tls)
    key, chain = (own[1], own[0]) if own else (None, None)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, chain))


def answer(stub: Any, query: dict[str, Any]) -> None:
    ref = pb.ScaledObjectRef(name=query["name"], namespace="tidegate", scalerMetadata=query["metadata"])
    request = ref
    if query["method"] == "GetMetrics":
        request = pb.GetMetricsRequest(scaledObjectRef=ref, metricName=query.get("metric", "demand"))
    method = getattr(stub, query["method"])
    try:
        if query["method"].startswith("Stream"):
            calls[query["id"]] = stream = method(request)
            for message in stream:
                say(query["id"], answer=plain(message))
            say(query["id"], code="OK", details="")
        else:
            say(query["id"], answer=plain(method(request, timeout=10)))
    except grpc.RpcError as e:
        say(query["id"], code=e.code().name, details=e.details())


def plain(message: Any) -> Any:
    return MessageToDict(message, always_print_fields_with_no_presence=True)


with connect() as channel:
    stub = rpc.ExternalScalerStub(channel)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("cancel"):
            calls[request["id"]].cancel()
        else:
            threading.Thread(target=answer, args=(stub, request), daemon=True).start()
