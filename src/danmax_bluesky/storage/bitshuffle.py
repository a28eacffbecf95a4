"""Chunks of bitshuffle-LZ4, decoded block by block into buffers that are there already.

The bitshuffle package decodes a whole chunk into a new array, with threads of its own: page faults and a fight for the
processor, where frames are decoded in threads already. Its library also exports the two functions that a block needs,
LZ4 and the transposition of bits; compiled code calls them by their address, outside the interpreter's lock.

Layout of a chunk: size of the content in bytes (8 bytes, big-endian), size of a block in bytes (4 bytes), then each
block with its compressed size (4 bytes) before it; the last block is a multiple of eight items, and what is left after
it stands uncompressed at the end.
"""

import ctypes
from typing import Any

import bitshuffle.ext
import numpy as np
from llvmlite import ir
from numba import types

from danmax_bluesky.compiled import compiled, intrinsic
from danmax_bluesky.storage.bit_unshuffle import GROUP, bytes_needed, put_together

FILTER_ID = 32008
LZ4 = 2
HEADER_BYTES = 12
_BLOCK_BYTES = 8192
Buffer = bytes | memoryview
MULTIPLE = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _addresses() -> tuple[int, int]:
    """Of LZ4_decompress_safe and bshuf_untrans_bit_elem in the bitshuffle library; zeros if it hides them."""
    try:
        library = ctypes.CDLL(bitshuffle.ext.__file__)
        functions = (library.LZ4_decompress_safe, library.bshuf_untrans_bit_elem)
    except (OSError, AttributeError):
        return 0, 0
    lz4, untranspose = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return lz4, untranspose


LZ4_ADDRESS, UNTRANSPOSE_ADDRESS = _addresses()


def blocks_are_open() -> bool:
    """True if single blocks can be decoded; otherwise whole chunks only."""
    return bool(LZ4_ADDRESS and UNTRANSPOSE_ADDRESS)


@intrinsic
def _lz4(typingctx: Any, address: Any, source: Any, target: Any, source_bytes: Any, target_bytes: Any) -> Any:
    """Call LZ4_decompress_safe(source, target, source_bytes, target_bytes)."""
    signature = types.int32(types.int64, types.int64, types.int64, types.int32, types.int32)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I64, _I64, _I32, _I32])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return signature, generate


@intrinsic
def _untranspose(typingctx: Any, address: Any, source: Any, target: Any, items: Any, item_bytes: Any) -> Any:
    """Call bshuf_untrans_bit_elem(source, target, items, item_bytes)."""
    signature = types.int64(types.int64, types.int64, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64, _I64, _I64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return signature, generate


@compiled
def decode_block(lz4, untranspose, chunk, length, offset, items, item_bytes, scratch, target):
    """Decode one block.

    Args:
        lz4: address of the function.
        untranspose: address of the function.
        chunk: address of the chunk.
        length: of the chunk, bytes.
        offset: of the block in the chunk, bytes.
        items: in the block, a multiple of 8.
        item_bytes: of an item.
        scratch: address of a buffer as large as the block.
        target: address of where the items go.

    Returns:
        Offset of what follows, or -1 if the block is damaged.
    """
    if offset + 4 > length:
        return -1
    head = carray_u1(chunk + offset)
    size = (np.int64(head[0]) << 24) | (np.int64(head[1]) << 16) | (np.int64(head[2]) << 8) | np.int64(head[3])
    content = items * item_bytes
    if size <= 0 or offset + 4 + size > length:
        return -1
    if _lz4(lz4, chunk + offset + 4, scratch, np.int32(size), np.int32(content)) != content:
        return -1
    if item_bytes == 4 and items % GROUP == 0:
        put_together(scratch, target, items, bytes_needed(scratch, items >> 3))
        return offset + 4 + size
    if _untranspose(untranspose, scratch, target, items, item_bytes) < 0:
        return -1
    return offset + 4 + size


@compiled
def decode_frame(lz4, untranspose, chunk, length, block_items, items, item_bytes, scratch, target):
    """Decode a whole chunk; the arguments are those of `decode_block`. Returns 0, or -1 if it is damaged."""
    offset = HEADER_BYTES
    done = 0
    while items - done >= MULTIPLE:
        count = min(block_items, items - done)
        count -= count % MULTIPLE
        offset = decode_block(
            lz4, untranspose, chunk, length, offset, count, item_bytes, scratch, target + done * item_bytes
        )
        if offset < 0:
            return -1
        done += count
    return copy_rest(chunk, length, offset, (items - done) * item_bytes, target + done * item_bytes)


@compiled
def copy_rest(chunk, length, offset, count, target):
    """Copy what stands uncompressed at the end; 0, or -1 if the chunk has another length than it should."""
    if offset + count != length:
        return -1
    source = carray_u1(chunk + offset)
    goal = carray_u1(target)
    for i in range(count):
        goal[i] = source[i]
    return 0


@intrinsic
def carray_u1(typingctx: Any, address: Any) -> Any:
    """The memory at an address, as bytes."""
    signature = types.CPointer(types.uint8)(types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return signature, generate


def read_header(chunk: Buffer, item_bytes: int, content_bytes: int) -> int:
    """Items in a block.

    Raises:
        ValueError: the chunk is too short, or says that it holds something of another size.
    """
    head = bytes(chunk[:HEADER_BYTES])
    if len(head) < HEADER_BYTES:
        raise ValueError(f"chunk of {len(chunk)} bytes is shorter than its header")
    content = int.from_bytes(head[:8], "big")
    if content != content_bytes:
        raise ValueError(f"chunk says it holds {content} bytes, not {content_bytes}")
    items, rest = divmod(int.from_bytes(head[8:], "big"), item_bytes)
    if rest or not items or items % MULTIPLE:
        raise ValueError(f"chunk has blocks of {head[8:].hex()} bytes, which bitshuffle never writes")
    return items


def decode_into(chunk: Buffer, buffer: np.ndarray) -> None:
    """Decode one chunk; the interpreter's lock is released meanwhile.

    Args:
        chunk: as it lies in the file.
        buffer: C-contiguous, of the shape and type of the chunk's content.

    Raises:
        ValueError: the chunk is damaged, or holds something of another size.
    """
    items = read_header(chunk, buffer.itemsize, buffer.nbytes)
    if not blocks_are_open():
        encoded = np.frombuffer(chunk, np.uint8, offset=HEADER_BYTES)
        buffer[...] = bitshuffle.ext.decompress_lz4(encoded, buffer.shape, buffer.dtype, items)
        return
    scratch = np.empty(items * buffer.itemsize, np.uint8)
    status = decode_frame(
        *(LZ4_ADDRESS, UNTRANSPOSE_ADDRESS, address_of(chunk), len(chunk), items),
        *(buffer.size, buffer.itemsize, scratch.ctypes.data, buffer.ctypes.data),
    )
    if status < 0:
        raise ValueError("chunk does not decode: it is damaged")


def prepare() -> None:
    """Load what decodes a chunk, which takes seconds on a busy machine: the first frame need not wait for it."""
    frame = np.zeros(_BLOCK_BYTES // 2, np.uint16)
    decode_into(header(frame.nbytes) + bitshuffle.ext.compress_lz4(frame, 0).tobytes(), frame)


def header(content_bytes: int) -> bytes:
    """What a chunk begins with."""
    return content_bytes.to_bytes(8, "big") + _BLOCK_BYTES.to_bytes(4, "big")


def most_bytes(content_bytes: int) -> int:
    """More than any chunk of this content takes: LZ4 makes blocks that it cannot compress longer by a 255th."""
    return HEADER_BYTES + 2 * content_bytes + _BLOCK_BYTES


def address_of(chunk: Buffer) -> int:
    """Where the bytes lie; valid as long as they are referred to."""
    return np.frombuffer(chunk, np.uint8).ctypes.data
