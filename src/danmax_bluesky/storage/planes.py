"""Bit planes back to numbers, faster where the numbers are small.

A bitshuffled block holds, of all its items, first the lowest bits, then the next, and so on: 32 planes. Counts are
small, and a bad pixel is -1, so the upper planes of almost every block are alike: they all repeat the sign. Then one or
two bytes of each item have to be put together instead of four, 64 items at a time, with LLVM vectors that become
whatever registers the processor has.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

GROUP = 64
"""Items that are put together at a time."""
_I8, _I64 = ir.IntType(8), ir.IntType(64)
_BYTES = ir.VectorType(_I8, GROUP)
_INTS = ir.VectorType(ir.IntType(32), GROUP)
_LONGS = ir.VectorType(_I64, 8)
_COMPILED = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy"}
_STEPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


@njit(**_COMPILED)
def bytes_needed(planes, stride):
    """How many bytes hold every item of a block: 1 or 2, or 4 if those are not enough.

    Args:
        planes: address of the planes, 32 of them.
        stride: bytes of a plane, a multiple of 8.
    """
    words = words_at(planes)
    length = stride >> 3
    sign = 31 * length
    differs = np.uint64(0)
    for k in range(15, 31):
        for i in range(length):
            differs |= words[k * length + i] ^ words[sign + i]
    if differs:
        return 4
    for k in range(7, 15):
        for i in range(length):
            differs |= words[k * length + i] ^ words[sign + i]
    return 2 if differs else 1


@njit(**_COMPILED)
def put_together(planes, target, items, width):
    """Items of int32 from the planes of their lowest bytes.

    Args:
        planes: address of the planes.
        target: address of the items.
        items: a multiple of 64.
        width: 1 or 2, as `bytes_needed` says.
    """
    stride = items >> 3
    for first in range(0, items, GROUP):
        if width == 1:
            _from_one_byte(planes + (first >> 3), stride, target + 4 * first)
        else:
            _from_two_bytes(planes + (first >> 3), stride, target + 4 * first)


@intrinsic
def words_at(typingctx: Any, address: Any) -> Any:
    """The memory at an address, as numbers of 64 bits."""
    signature = types.CPointer(types.uint64)(types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _I64.as_pointer())

    return signature, generate


@intrinsic
def _from_one_byte(typingctx: Any, planes: Any, stride: Any, target: Any) -> Any:
    """64 items that fit into one byte, with its sign."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _put(builder, builder.sext(_byte(builder, args[0], args[1], 0), _INTS), args[2])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _from_two_bytes(typingctx: Any, planes: Any, stride: Any, target: Any) -> Any:
    """64 items that fit into two bytes, with their sign."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low = builder.zext(_byte(builder, args[0], args[1], 0), _INTS)
        high = builder.sext(_byte(builder, args[0], args[1], 8), _INTS)
        _put(builder, builder.or_(low, builder.shl(high, ir.Constant(_INTS, [8] * GROUP))), args[2])
        return context.get_dummy_value()

    return signature, generate


def _byte(builder: Any, planes: Any, stride: Any, first: int) -> Any:
    """One byte of 64 items, from eight planes: bytes are sorted by items, then squares of 8 x 8 bits are turned.

    The turning is that of Warren, Hacker's Delight, 7-3.
    """
    rows = ir.Constant(_LONGS, ir.Undefined)
    for k in range(8):
        address = builder.add(planes, builder.mul(stride, ir.Constant(_I64, first + k)))
        row = builder.load(builder.inttoptr(address, _I64.as_pointer()))
        row.align = 1
        rows = builder.insert_element(rows, row, ir.Constant(ir.IntType(32), k))
    order = [8 * k + group for group in range(8) for k in range(8)]
    places = ir.Constant(ir.VectorType(ir.IntType(32), GROUP), order)
    squares = builder.shuffle_vector(builder.bitcast(rows, _BYTES), ir.Constant(_BYTES, ir.Undefined), places)
    bits = builder.bitcast(squares, _LONGS)
    for shift, mask in _STEPS:
        by = ir.Constant(_LONGS, [shift] * 8)
        swapped = builder.and_(builder.xor(bits, builder.lshr(bits, by)), ir.Constant(_LONGS, [mask] * 8))
        bits = builder.xor(builder.xor(bits, swapped), builder.shl(swapped, by))
    return builder.bitcast(bits, _BYTES)


def _put(builder: Any, items: Any, target: Any) -> None:
    builder.store(items, builder.inttoptr(target, _INTS.as_pointer())).align = 4
