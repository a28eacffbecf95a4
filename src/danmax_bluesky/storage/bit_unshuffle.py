"""Bit planes back to numbers, faster where the numbers are small.

A bitshuffled block holds, of all its items, first the lowest bits, then the next, and so on: 32 planes. Counts are
small, and a bad pixel is -1, so the upper planes of almost every block are alike: they all repeat the sign. Then one or
two bytes of each item have to be put together instead of four. That is done for 64 items at a time, with LLVM vectors
that become whatever registers the processor has.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from danmax_bluesky.compiled import compiled, intrinsic

GROUP = 64
"""Items that are put together at a time."""
_I8, _I64 = ir.IntType(8), ir.IntType(64)
_BYTES = ir.VectorType(_I8, GROUP)
_INTS = ir.VectorType(ir.IntType(32), GROUP)
_LONGS = ir.VectorType(_I64, 8)
_STEPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


@compiled
def bytes_needed(planes, stride):
    """How many bytes hold every item of a block with its sign, 1 to 4.

    Args:
        planes: address of the planes, 32 of them.
        stride: bytes of a plane, a multiple of 8.
    """
    for width in range(3, 0, -1):
        if _differ(planes + (8 * width - 1) * stride, stride):
            return width + 1
    return 1


@compiled
def put_together(planes, target, items, width):
    """Items of int32 from the planes of their lowest bytes.

    Args:
        planes: address of the planes.
        target: address of the items.
        items: a multiple of 64.
        width: bytes to look at, as `bytes_needed` says.
    """
    stride = items >> 3
    for first in range(0, items, GROUP):
        source = planes + (first >> 3)
        goal = target + 4 * first
        if width == 1:
            _one_byte(source, stride, goal)
        elif width == 2:
            _two_bytes(source, stride, goal)
        elif width == 3:
            _three_bytes(source, stride, goal)
        else:
            _four_bytes(source, stride, goal)


@intrinsic
def _differ(typingctx: Any, planes: Any, stride: Any) -> Any:
    """True if nine planes, the first at an address, are not all alike: each is compared with the next."""
    signature = types.boolean(types.int64, types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        seen = cgutils.alloca_once_value(builder, ir.Constant(_LONGS, [0] * 8))
        with cgutils.for_range(builder, builder.lshr(args[1], ir.Constant(_I64, 3))) as loop:
            here = builder.add(args[0], builder.mul(loop.index, ir.Constant(_I64, GROUP)))
            plane, following = (_load(builder, address) for address in (here, builder.add(here, args[1])))
            builder.store(builder.or_(builder.load(seen), builder.xor(plane, following)), seen)
        bits = builder.bitcast(builder.load(seen), ir.IntType(8 * GROUP))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature, generate


def _load(builder: Any, address: Any) -> Any:
    """Eight numbers of 64 bits."""
    numbers = builder.load(builder.inttoptr(address, _LONGS.as_pointer()))
    numbers.align = 1
    return numbers


def _of_bytes(width: int) -> Any:
    """A function (planes, stride, target) for 64 items whose lowest bytes, so many, hold all of them."""

    @intrinsic
    def from_bytes(typingctx: Any, planes: Any, stride: Any, target: Any) -> Any:
        signature = types.void(types.int64, types.int64, types.int64)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            items = builder.sext(_byte(builder, args[0], args[1], 8 * width - 8), _INTS)
            for byte in range(width - 2, -1, -1):
                low = builder.zext(_byte(builder, args[0], args[1], 8 * byte), _INTS)
                items = builder.or_(builder.shl(items, ir.Constant(_INTS, [8] * GROUP)), low)
            builder.store(items, builder.inttoptr(args[2], _INTS.as_pointer())).align = 4
            return context.get_dummy_value()

        return signature, generate

    return from_bytes


_one_byte, _two_bytes, _three_bytes, _four_bytes = (_of_bytes(width) for width in (1, 2, 3, 4))


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
    indices = ir.Constant(ir.VectorType(ir.IntType(32), GROUP), order)
    squares = builder.shuffle_vector(builder.bitcast(rows, _BYTES), ir.Constant(_BYTES, ir.Undefined), indices)
    bits = builder.bitcast(squares, _LONGS)
    for shift, mask in _STEPS:
        by = ir.Constant(_LONGS, [shift] * 8)
        swapped = builder.and_(builder.xor(bits, builder.lshr(bits, by)), ir.Constant(_LONGS, [mask] * 8))
        bits = builder.xor(builder.xor(bits, swapped), builder.shl(swapped, by))
    return builder.bitcast(bits, _BYTES)
