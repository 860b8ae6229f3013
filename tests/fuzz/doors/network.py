"""The answers of cameras, models and receivers of alerts, over a socket of this machine."""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import io
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache

import av

from services.ingest.camera.opening import Reaching, open_source
from services.ingest.cutting.clock import WallClock
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.failures import SourceError, failure_of
from services.ingest.settings import Cutting
from services.vlm.endpoints.failures import Rejected, RequestFailed
from services.vlm.endpoints.openai import ModelEndpoint
from services.webhook.endpoint import Endpoint, Failed
from services.webhook.outgoing import Outgoing
from shared.contract.cameras import Camera
from shared.contract.endpoint import EndpointSettings
from shared.runtime.errors import Away
from tests.fuzz import good, spoil
from tests.fuzz.door import MB, Door, wait

# Between what a camera answers to one request and to the next.
NEXT = b"\n~next~\n"
PATIENCE_S = 2.0
_answer = b""


@cache
def _http_port() -> int:
    """The port of a server that answers each request with the current input."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer)
            await writer.drain()
        writer.close()

    server = wait(asyncio.start_server(answer, "127.0.0.1", 0))
    return int(server.sockets[0].getsockname()[1])


@cache
def _model() -> ModelEndpoint:
    endpoint = ModelEndpoint(f"http://127.0.0.1:{_http_port()}/v1", key=lambda: "", timeout_s=PATIENCE_S)
    wait(endpoint.__aenter__())
    atexit.register(lambda: wait(endpoint.__aexit__()))
    return endpoint


@cache
def _receiver() -> Endpoint:
    where = f"http://127.0.0.1:{_http_port()}/hook"
    endpoint = Endpoint(EndpointSettings(url=where, secret="k"), timeout_s=PATIENCE_S)
    wait(endpoint.__aenter__())
    atexit.register(lambda: wait(endpoint.__aexit__()))
    return endpoint


def _completed(data: bytes) -> None:
    global _answer
    _answer = data
    wait(_model().complete({"messages": []}))


def _looked(data: bytes) -> None:
    """The lists of models and of gauges."""
    global _answer
    _answer = data
    try:
        wait(_model().look(""))
    finally:
        wait(_model().load())


def _delivered(data: bytes) -> None:
    global _answer
    _answer = data
    wait(_receiver().post(Outgoing(id="1", headers={"ce-id": "1"}, body=b"{}", time=None)))


@cache
def _camera_port() -> int:
    """The port of a camera that answers each request with the next part of the current input, and then hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(PATIENCE_S)
                for part in _answer.split(NEXT):
                    if not connection.recv(65536):
                        break
                    connection.sendall(part)

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


def _played(data: bytes) -> None:
    """Handle a camera as ingest does: connect, and cut its data into segments."""
    global _answer
    # A redirect would reach other machines.
    _answer = data.replace(b"ocation", b"o-ation")
    camera = Camera(url=f"rtsp://127.0.0.1:{_camera_port()}/a")
    try:
        source = open_source(camera, "user:pass", Reaching(timeout_s=PATIENCE_S / 4))
        with contextlib.closing(source):
            segmenter = Segmenter("lobby", source.stream, Cutting(1.0, 8 * MB), WallClock(), lambda piece: None)
            for packet in itertools.islice(source.packets(threading.Event()), 100):
                segmenter.push(packet, time.time())
            segmenter.finish(time.time())
    except Exception as e:
        assert failure_of(e, camera, "user:pass").reason
        raise


def _http(status: str, body: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""])
    return head.encode() + body


def _answers() -> list[bytes]:
    piece = b'data: {"choices":[{"delta":{"content":"A man."},"finish_reason":"stop"}],"usage":{"prompt_tokens":7}}\n\n'
    stream = "Content-Type: text/event-stream"
    return [
        _http("200 OK", piece + b"data: [DONE]\n\n", stream),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(piece), piece),
        _http("429 Slow", b'{"error":{"message":"busy"}}', "Retry-After: 5"),
        _http("400 Bad", b'{"error":{"message":"context length is 5 tokens"}}'),
    ]


def _pages() -> list[bytes]:
    gauge = b'# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model="m"} 2.0\n'
    return [_http("200 OK", b'{"data":[{"id":"m","max_model_len":4096}]}'), _http("200 OK", gauge)]


def _receipts() -> list[bytes]:
    return [
        _http("204 No Content", b""),
        _http("503 Busy", b"x", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"),
        _http("307 Moved", b"", "Location: http://127.0.0.1/elsewhere"),
    ]


def _cameras() -> list[bytes]:
    """A camera that plays, one that asks for a password, and one that has no such path."""
    return [
        NEXT.join(
            [_rtsp("Public: OPTIONS, DESCRIBE, SETUP, PLAY"), _described(), _set_up(), _rtsp("Session: 1") + _video()]
        ),
        NEXT.join(
            [
                _rtsp(),
                b'RTSP/1.0 401 No\r\nCSeq: 2\r\nWWW-Authenticate: Digest realm="x", nonce="y"\r\n\r\n',
                _described(),
            ]
        ),
        NEXT.join([_rtsp(), b"RTSP/1.0 404 Not Found\r\nCSeq: 2\r\n\r\n"]),
    ]


def _rtsp(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["RTSP/1.0 200 OK", "CSeq: 1", *headers, "", ""]).encode() + body


def _described() -> bytes:
    sets = ",".join(base64.b64encode(unit).decode() for unit in _units() if unit[0] & 31 in (7, 8))
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=range:npt=0-\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:trackID=0\r\n"
    ).encode()
    return _rtsp("Content-Type: application/sdp", f"Content-Length: {len(sdp)}", body=sdp)


def _set_up() -> bytes:
    return _rtsp("Session: 1;timeout=60", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")


def _video() -> bytes:
    """RTP over the connection, a packet for each NAL unit."""
    found = b""
    for n, unit in enumerate(_units()):
        packet = struct.pack(">BBHII", 0x80, 0x80 | 96, n, n // 2 * 9000, 1) + unit
        found += struct.pack(">cBH", b"$", 0, len(packet)) + packet
    return found


@cache
def _units() -> list[bytes]:
    """NAL units of a second of H.264, its parameter sets first."""
    with av.open(io.BytesIO(good.pieces()[0].payload)) as container:
        stream = container.streams.video[0]
        head = bytes(stream.codec_context.extradata or b"")
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    sets, at = [], 6
    for _ in range(2):
        size = int.from_bytes(head[at : at + 2], "big")
        sets.append(head[at + 2 : at + 2 + size])
        at += size + 3
    return [*sets, *itertools.chain.from_iterable(map(_split, packets))]


def _split(data: bytes) -> Iterator[bytes]:
    """The NAL units of a packet of MP4, each with its length."""
    at = 0
    while at + 4 < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if 0 < size < 1400:
            yield data[at + 4 : at + 4 + size]
        at += 4 + size


_MODELS: Sequence[type[BaseException]] = (Away, RequestFailed, Rejected)
DOORS = (
    Door("network.model", _answers, _completed, (*_MODELS,), spoil.lines, share=0.05),
    Door("network.models", _pages, _looked, (*_MODELS,), spoil.lines, share=0.03),
    Door("network.receiver", _receipts, _delivered, (Failed,), spoil.lines, share=0.05),
    Door(
        "network.camera",
        _cameras,
        _played,
        (SourceError, av.FFmpegError, OSError),
        spoil.lines,
        share=0.02,
    ),
)
