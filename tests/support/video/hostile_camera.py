"""A camera that answers and sends whatever a test wants: RTSP, and RTP over the same connection.

    with HostileCamera(play=lambda rtp: rtp.picture(units, 0)) as camera:
        camera.url

It serves each connection in a thread of its own, without a limit.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence

import av

# Larger units are sent in fragments: an RTP packet has 16 bits for its length.
_MOST = 60_000
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"


def description(codec: str = "H264", rate: int = 90_000, more: str = "") -> str:
    """SDP of one video. more: lines of its own, each with its end."""
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "t=0 0", "m=video 0 RTP/AVP 96"]
    return "\r\n".join([*lines, f"a=rtpmap:96 {codec}/{rate}", f"{more}a=control:track", ""])


class Rtp:
    """What a camera sends once it plays. hevc: how units are distinguished, and split into fragments."""

    def __init__(self, connection: socket.socket, hevc: bool) -> None:
        self.connection = connection
        self._hevc = hevc
        self._number = 0

    def packet(self, payload: bytes, timestamp: int, last: bool = False, channel: int = 0) -> None:
        """One packet. last: whether it ends its picture. channel: of the connection; 2 is that of a second video."""
        head = (0x80, 96 | last << 7, self._number & 0xFFFF, timestamp & 0xFFFF_FFFF, 7)
        self._number += 1
        data = struct.pack(">BBHII", *head) + payload
        self.connection.sendall(b"$" + bytes([channel]) + struct.pack(">H", len(data)) + data)

    def picture(self, units: Sequence[bytes], timestamp: int, channel: int = 0) -> None:
        """The NAL units of a picture."""
        for n, unit in enumerate(units):
            last = n == len(units) - 1
            if len(unit) <= _MOST:
                self.packet(unit, timestamp, last, channel)
                continue
            head = 2 if self._hevc else 1
            parts = [unit[at : at + _MOST] for at in range(head, len(unit), _MOST)]
            for k, part in enumerate(parts):
                end = k == len(parts) - 1
                self.packet(self._fragment(unit, first=not k, end=end) + part, timestamp, last and end, channel)

    def _fragment(self, unit: bytes, *, first: bool, end: bool) -> bytes:
        """The header of a fragment of a unit: RFC 6184, 5.8, and RFC 7798, 4.4.3."""
        marks = first << 7 | end << 6
        if self._hevc:
            return bytes([unit[0] & 0x81 | 49 << 1, unit[1], marks | unit[0] >> 1 & 63])
        return bytes([unit[0] & 0xE0 | 28, marks | unit[0] & 31])


class HostileCamera:
    """play: sends what comes after PLAY, and returns or is cut off. answers: a whole answer by method, in place of the
    usual one, of the number of the connection, from 1, and of the request. heard: all requests."""

    def __init__(
        self,
        play: Callable[[Rtp], None] = lambda rtp: None,
        sdp: str | None = None,
        answers: Mapping[str, Callable[[int, str], bytes | str]] | None = None,
        codec: str = "H264",
    ) -> None:
        self.heard: list[str] = []
        self._play = play
        self._hevc = codec == "H265"
        self._sdp = sdp or description(codec)
        self._answers = answers or {}
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.url = f"rtsp://{self.address}/live"
        self._open: list[socket.socket] = []

    def __enter__(self) -> HostileCamera:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._server, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection, len(self._open)), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        read = b""
        with contextlib.suppress(OSError), connection:
            while more := connection.recv(65536):
                read += more
                while b"\r\n\r\n" in read:
                    head, _, read = read.partition(b"\r\n\r\n")
                    request = head.decode(errors="replace")
                    self.heard.append(request)
                    answer = self._answer(request, number)
                    connection.sendall(answer.encode() if isinstance(answer, str) else answer)
                    if request.startswith("PLAY"):
                        self._play(Rtp(connection, self._hevc))

    def _answer(self, request: str, number: int) -> bytes | str:
        method = request.partition(" ")[0]
        if method in self._answers:
            return self._answers[method](number, request)
        if method == "DESCRIBE":
            return reply(request, "Content-Type: application/sdp", body=self._sdp)
        if method == "SETUP":
            return reply(request, "Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        return reply(request, "Session: 1", f"Public: {_METHODS}")


def reply(request: str, *headers: str, status: str = "200 OK", body: str = "") -> str:
    """An answer to a request."""
    number = next((line for line in request.splitlines() if line.lower().startswith("cseq")), "CSeq: 1")
    return "\r\n".join([f"RTSP/1.0 {status}", number, *headers, f"Content-Length: {len(body)}", "", body])


def units(data: bytes) -> list[bytes]:
    """NAL units between start codes."""
    return [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]


def pictures(path: str, codec: str = "h264") -> list[list[bytes]]:
    """The NAL units of each picture of a video file, with parameter sets before its keyframes."""
    with av.open(path) as source:
        stream = source.streams.video[0]
        annex_b = av.BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        packets = [p for packet in source.demux(stream) if packet.size for p in annex_b.filter(packet)]
    return [units(bytes(packet)) for packet in packets]
