"""Reading in gulps: nothing is changed, nothing waits longer than it may, a fast camera is not held up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.camera.reading import NAP_BYTES, NAP_S, coalesced_reads


class Network:
    """Packets that are there at their times, read on a clock of its own."""

    def __init__(self, packets: list[tuple[float, int]]) -> None:
        self.now = 0.0
        self.naps: list[float] = []
        self._packets = packets

    def read(self):  # type: ignore[no-untyped-def]
        for at, size in self._packets:
            self.now = max(self.now, at)
            yield at, size

    def nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


arrivals = st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 500_000)), max_size=60).map(
    lambda steps: [(sum(s for s, _ in steps[: i + 1]), size) for i, (_, size) in enumerate(steps)]
)


@given(arrivals)
def test_every_packet_comes_in_order_and_soon(packets: list[tuple[float, int]]) -> None:
    network = Network(packets)
    got = []
    for packet in coalesced_reads(network.read(), lambda p: p[1], network.nap, lambda: network.now):
        got.append(packet)
        assert network.now - packet[0] <= NAP_S + 1e-6
    assert got == packets
    assert all(0 < nap <= NAP_S for nap in network.naps)


def test_a_steady_camera_is_read_a_few_times_a_second() -> None:
    network = Network([(i * 0.04, 20_000) for i in range(250)])
    list(coalesced_reads(network.read(), lambda p: p[1], network.nap, lambda: network.now))
    assert 60 <= len(network.naps) <= 100, "ten seconds of 25 frames a second"


def test_a_fast_camera_never_exceeds_the_kernel_buffer() -> None:
    network = Network([(i * 0.04, 200_000) for i in range(250)])
    list(coalesced_reads(network.read(), lambda p: p[1], network.nap, lambda: network.now))
    assert max(network.naps) <= 1.01 * NAP_BYTES / (200_000 / 0.04)
