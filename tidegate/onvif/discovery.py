"""The question for cameras on each network interface, by UDP multicast, and their answers until a time.

Each interface gets a socket of its own, bound to its address and a port of the system's choice. Nothing else listens.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import uuid
from collections import Counter
from collections.abc import Sequence

from shared.runtime.errors import SettingError
from tidegate.onvif import probe
from tidegate.onvif.values import BadAnswer, Found

# UDP loses packets: a second question reaches devices that missed the first.
_REPEAT_S = 0.5
_MOST_INTERFACES = 32
# A datagram of one device has some 2 kB.
_LONGEST = 16_384
_MOST_DATAGRAMS = 2000
MOST_DEVICES = 256
# A recorder may answer for its channels. A sender that invents devices must not fill the list, or use up the datagrams.
_MOST_OF_SENDER = 16
_MOST_DATAGRAMS_OF_SENDER = 64
# Linux: netdevice(7).
_SIOCGIFADDR, _SIOCGIFFLAGS = 0x8915, 0x8913
_UP, _LOOPBACK, _MULTICAST = 0x1, 0x8, 0x1000


class Answers(asyncio.DatagramProtocol):
    """Collects devices from datagrams. The first answer of an endpoint at a sender counts."""

    def __init__(self, ids: frozenset[str]) -> None:
        self.found: dict[tuple[str, str], Found] = {}
        self._ids = ids
        self._left = _MOST_DATAGRAMS
        self._by_sender: Counter[str] = Counter()
        self._datagrams: Counter[str] = Counter()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._left <= 0 or self._datagrams[addr[0]] >= _MOST_DATAGRAMS_OF_SENDER or len(data) > _LONGEST:
            return
        self._left -= 1
        self._datagrams[addr[0]] += 1
        try:
            for found in probe.answers(data, self._ids, addr[0]):
                self._take(found)
        except BadAnswer:
            return

    def error_received(self, exc: Exception) -> None:
        """An unreachable port of one host concerns no other."""

    def _take(self, found: Found) -> None:
        key = (found.sender, found.endpoint)
        is_full = len(self.found) >= MOST_DEVICES or self._by_sender[found.sender] >= _MOST_OF_SENDER
        if key not in self.found and not is_full:
            self.found[key] = found
            self._by_sender[found.sender] += 1


async def discover(interfaces: Sequence[str], within_s: float) -> list[Found]:
    """Return the devices that answer within this time, by address. interfaces: our own IPv4 addresses.

    Raises SettingError if the question can be sent by none of them.
    """
    questions = [(str(uuid.uuid4()), kind) for kind in probe.TYPES]
    protocol = Answers(frozenset(id for id, _ in questions))
    transports: list[asyncio.DatagramTransport] = []
    refused: list[OSError] = []
    loop = asyncio.get_running_loop()
    try:
        for address in interfaces:
            try:
                sock = _socket(address)
            except OSError as e:
                refused.append(e)
                continue
            transports.append((await loop.create_datagram_endpoint(lambda: protocol, sock=sock))[0])
        if not transports:
            reason = refused[0].strerror if refused else "there is none"
            raise SettingError(
                f"no network interface with an IPv4 address can be used ({reason}): see 'ip -4 address', and give the "
                "address of one by --interface"
            )
        for wait_s in (min(_REPEAT_S, within_s / 2), within_s - min(_REPEAT_S, within_s / 2)):
            for transport in transports:
                for id, kind in questions:
                    transport.sendto(probe.question(id, kind), (probe.GROUP, probe.PORT))
            await asyncio.sleep(wait_s)
    finally:
        for transport in transports:
            transport.close()
    return sorted(protocol.found.values(), key=lambda found: (socket.inet_aton(found.sender), found.endpoint))


def _socket(address: str) -> socket.socket:
    """Return a socket that sends multicast by the interface of this address. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        # The question stays in the local network.
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock


def interfaces() -> list[str]:
    """Return the IPv4 addresses of the network interfaces that are up and can multicast, without loopback."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex()[:_MOST_INTERFACES]:
            request = struct.pack("256s", name.encode()[:15])
            try:
                flags = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
                address = socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24])
            except OSError:  # It has no IPv4 address.
                continue
            if flags & _UP and flags & _MULTICAST and not flags & _LOOPBACK:
                found.append(address)
    return found
