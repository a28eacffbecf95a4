"""Frames as HDF5 stores them: bitshuffle-LZ4, one chunk a frame."""

import struct

import bitshuffle
import numpy as np

BLOCK_BYTES = 8192


def encode(frame: np.ndarray) -> bytes:
    """Compress one frame as HDF5's filter 32008 would (bitshuffle, then LZ4).

    The chunk begins with 12 bytes, both big-endian: the size before compression (8 bytes) and the size of a block
    (4 bytes). Source: the bitshuffle filter's `bshuf_h5filter.c`.
    """
    frame = np.ascontiguousarray(frame)
    body = bitshuffle.compress_lz4(frame, BLOCK_BYTES // frame.itemsize)
    return struct.pack(">QI", frame.nbytes, BLOCK_BYTES) + body.tobytes()
