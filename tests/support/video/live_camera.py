"""A live camera with two streams of one scene: frame n of each file is sent at the same moment, to all who play it.

The server speaks RTSP with RTP over TCP, and begins each stream with the keyframe before the present frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import av
from av.bitstream import BitStreamFilterContext

_MOST = 1400
_RATE = 90_000


class _Film:
    """The NAL units of each frame of a file, over and over."""

    def __init__(self, path: Path, fps: float) -> None:
        self.fps = fps
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            annexb = BitStreamFilterContext("h264_mp4toannexb", stream)
            packets = [out for packet in container.demux(stream) if packet.size for out in annexb.filter(packet)]
        self.frames = [[unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(p)) if unit] for p in packets]
        self.keys = [n for n, packet in enumerate(packets) if packet.is_keyframe]

    def key_before(self, n: int) -> int:
        return n - n % len(self.frames) + max(key for key in self.keys if key <= n % len(self.frames))


class _Sender:
    """Sends one film on one connection, in real time from `began` on."""

    def __init__(self, film: _Film, writer: asyncio.StreamWriter, began: float) -> None:
        self._film, self._writer, self._began = film, writer, began
        self._sequence = 0

    async def run(self) -> None:
        n = self._film.key_before(int((time.monotonic() - self._began) * self._film.fps))
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(max(0.0, self._began + n / self._film.fps - time.monotonic()))
                units = self._film.frames[n % len(self._film.frames)]
                for i, unit in enumerate(units):
                    self._send(unit, round(n * _RATE / self._film.fps), last=i == len(units) - 1)
                await self._writer.drain()
                n += 1

    def _send(self, unit: bytes, timestamp: int, *, last: bool) -> None:
        """Send a NAL unit: in one packet, or in fragments (RFC 6184, 5.8)."""
        if len(unit) <= _MOST:
            self._packet(unit, timestamp, marker=last)
            return
        indicator, kind = unit[0] & 0xE0 | 28, unit[0] & 0x1F
        parts = [unit[at : at + _MOST] for at in range(1, len(unit), _MOST)]
        for i, part in enumerate(parts):
            is_end = i == len(parts) - 1
            head = bytes([indicator, (i == 0) << 7 | is_end << 6 | kind])
            self._packet(head + part, timestamp, marker=last and is_end)

    def _packet(self, payload: bytes, timestamp: int, *, marker: bool) -> None:
        self._sequence = self._sequence + 1 & 0xFFFF
        rtp = struct.pack("!BBHII", 0x80, marker << 7 | 96, self._sequence, timestamp & 0xFFFFFFFF, 7) + payload
        self._writer.write(struct.pack("!cBH", b"$", 0, len(rtp)) + rtp)


@contextlib.asynccontextmanager
async def live(paths: Mapping[str, Path], fps: float = 25.0) -> AsyncIterator[str]:
    """URL of a camera with these paths, each of a file of H.264."""
    films = {name: _Film(path, fps) for name, path in paths.items()}
    began = time.monotonic()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sending: asyncio.Task[None] | None = None
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while request := (await reader.readuntil(b"\r\n\r\n")).lstrip(b"$").decode(errors="replace"):
                method, url, _ = request.splitlines()[0].split(" ", 2)
                writer.write(_answer(method, request).encode())
                if method == "PLAY":
                    film = films[urlsplit(url).path.strip("/").split("/")[0]]
                    sending = asyncio.create_task(_Sender(film, writer, began).run())
        if sending:
            sending.cancel()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def _answer(method: str, request: str) -> str:
    number = next(line for line in request.splitlines() if line.lower().startswith("cseq"))
    body = "v=0\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    body += "a=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
    more = {
        "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n",
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
        "PLAY": "Session: 1\r\n",
    }.get(method, "")
    return f"RTSP/1.0 200 OK\r\n{number}\r\n{more}\r\n" + (body if method == "DESCRIBE" else "")
