"""A site file that a browser sends: what a hostile one costs, and which mistakes it gets."""

from __future__ import annotations

import tracemalloc

import pytest

from services.console.site import document
from shared.contract.reading.mistakes import MOST, Mistakes

LONG, MANY = "k" * 50_000, 25_000
FILES = {
    "a long name over a long list": f"cameras: {{{LONG}: [{'1,' * MANY}1]}}",
    "a long name over many names": f"cameras: {{{LONG}: {{{','.join(f'f{n}: 1' for n in range(MANY))}}}}}",
    "the same as JSON": f'{{"cameras": {{"{LONG}": [{"[]," * MANY}[]]}}}}',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_hostile_file_takes_little_memory(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Mistakes) as refused:
            document.read(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(refused.value.all) <= MOST
    assert peak < 64 * 2**20


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000, ":".join("1" * 3000)])
@pytest.mark.parametrize("text", ["recording: {}", "cameras: {{{}: {{url: 'rtsp://a/b'}}}}", "cameras: {{a: {}}}"])
def test_a_number_of_thousands_of_digits_is_a_mistake(text: str, number: str) -> None:
    with pytest.raises(Mistakes):
        document.read(text.format(number))
