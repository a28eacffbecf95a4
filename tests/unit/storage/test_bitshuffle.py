"""Chunks decoded into buffers: exactly what was encoded, or an error."""

import bitshuffle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danmax_bluesky.storage.bit_unshuffle import bytes_needed
from danmax_bluesky.storage.bitshuffle import decode_into

BLOCK = 2048


def encoded(items: np.ndarray, block: int = BLOCK) -> bytes:
    """As HDF5's filter writes it."""
    header = items.nbytes.to_bytes(8, "big") + (block * items.itemsize).to_bytes(4, "big")
    return header + bitshuffle.compress_lz4(items, block).tobytes()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    number=st.integers(1, 3 * BLOCK + 70),
    block=st.sampled_from([64, 200, BLOCK]),
    highest=st.sampled_from([0, 1, 127, 128, 255, 256, 32767, 32768, 65536, 2**23 - 1, 2**23, 2**31 - 1]),
    lowest=st.sampled_from([0, -1, -128, -129, -32768, -32769, -(2**23), -(2**31)]),
    bad=st.sampled_from([0.0, 0.1, 1.0]),
    dtype=st.sampled_from(["i4", "u4", "i2", "u2", "u1", "i8", "f4"]),
    seed=st.integers(0, 99),
)
def test_every_number_comes_back(number, block, highest, lowest, bad, dtype, seed):
    """Blocks whose numbers fit into one byte to four, with bad pixels of -1, of every type and length."""
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, highest + 1, number)
    wide[rng.random(number) < bad] = lowest
    items = wide.astype(np.int64).astype(dtype)
    found = np.full_like(items, 77)
    decode_into(encoded(items, block), found)
    assert np.array_equal(found, items)


@pytest.mark.parametrize(
    ("numbers", "width"),
    [
        ([0, 1, 127, -1], 1),
        ([128], 2),
        ([-129], 2),
        ([32767, -32768], 2),
        ([32768], 3),
        ([-(2**31)], 4),
        ([2**23 - 1], 3),
        ([2**23], 4),
    ],
)
def test_as_many_bytes_are_put_together_as_the_numbers_need(numbers, width):
    items = np.resize(np.array(numbers, np.int32), 64)
    planes = np.frombuffer(bitshuffle.bitshuffle(items, 64).tobytes(), np.uint8).copy()
    assert bytes_needed(planes.ctypes.data, 8) == width


@pytest.mark.parametrize("spoil", [slice(0, 8), slice(12, 16), slice(20, 60), slice(-4, None)])
def test_a_damaged_chunk_is_an_error(spoil):
    items = np.random.default_rng(1).integers(0, 9, 2 * BLOCK).astype(np.int32)
    chunk = bytearray(encoded(items))
    chunk[spoil] = b"\xff" * len(chunk[spoil])
    buffer = np.empty_like(items)
    try:
        decode_into(bytes(chunk), buffer)
    except ValueError:
        return
    assert spoil == slice(-4, None)  # literals may be other literals: no format notices that


def test_a_chunk_of_another_size_or_cut_short_is_an_error():
    items = np.arange(BLOCK, dtype=np.int32)
    with pytest.raises(ValueError, match="says it holds"):
        decode_into(encoded(items), np.empty(BLOCK + 8, np.int32))
    for length in (0, 5, 12, 100, len(encoded(items)) - 1):
        with pytest.raises(ValueError, match="chunk"):
            decode_into(encoded(items)[:length], np.empty_like(items))
