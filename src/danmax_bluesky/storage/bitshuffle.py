"""Chunks of bitshuffle-LZ4, decoded into a buffer that is there already.

The Python function of the bitshuffle package makes a new array for each frame, whose page faults cost as much as the
decoding. Its library exports the C function that decodes in place; where it does not, the Python function serves.
Layout of a chunk: size of the content in bytes (8 bytes, big-endian), size of a block in bytes (4 bytes), then blocks.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import bitshuffle.ext
import numpy as np

FILTER_ID = 32008
LZ4 = 2
HEADER_BYTES = 12


def _c_decoder() -> Callable[..., int] | None:
    try:
        function: Any = ctypes.CDLL(bitshuffle.ext.__file__).bshuf_decompress_lz4
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
    return function


_decoder = _c_decoder()


def decode_into(chunk: bytes, buffer: np.ndarray) -> None:
    """Decode one chunk; the interpreter's lock is released meanwhile.

    Args:
        chunk: as it lies in the file.
        buffer: C-contiguous, of the shape and type of the chunk's content.

    Raises:
        ValueError: the chunk is damaged, or holds something of another size.
    """
    if len(chunk) < HEADER_BYTES:
        raise ValueError(f"chunk of {len(chunk)} bytes is shorter than its header")
    content = int.from_bytes(chunk[:8], "big")
    block = int.from_bytes(chunk[8:HEADER_BYTES], "big") // buffer.itemsize
    if content != buffer.nbytes:
        raise ValueError(f"chunk says it holds {content} bytes, not {buffer.nbytes}")
    if _decoder is None:
        encoded = np.frombuffer(chunk, np.uint8, offset=HEADER_BYTES)
        buffer[...] = bitshuffle.ext.decompress_lz4(encoded, buffer.shape, buffer.dtype, block)
        return
    address = ctypes.cast(ctypes.c_char_p(chunk), ctypes.c_void_p).value or 0
    used = _decoder(address + HEADER_BYTES, buffer.ctypes.data, buffer.size, buffer.itemsize, block)
    if used != len(chunk) - HEADER_BYTES:
        raise ValueError(f"chunk does not decode (code {used})")
