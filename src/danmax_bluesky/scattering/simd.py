"""Eight frames in one vector register: what the compiler does not find by itself.

These functions are written with LLVM vectors of eight, which become one AVX-512 register, two of AVX2 or four of NEON.
Each lane is one frame and is rounded as a scalar would be: a multiplication, then an addition, never fused.
"""
# pyright: standard

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from danmax_bluesky.compiled import intrinsic

LANES = 8
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_DOUBLE = ir.DoubleType()
_DOUBLES = ir.VectorType(_DOUBLE, LANES)
_LONGS = ir.VectorType(_I64, LANES)
_INTS = ir.VectorType(_I32, LANES)
_ITEM_BYTES = 4
_TURN = (
    ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15), 1),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15), 2),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15), 4),
)
"""Rows become columns in three steps: of two rows so far apart, squares of 1, 2 and 4 items change places."""


@intrinsic
def take_lanes(typingctx: Any, frames: Any, pixel: Any, low: Any, high: Any, value: Any) -> Any:
    """Read one pixel of eight frames; 0 where it is invalid.

    Args (as called):
        frames: counts, int32, shape (8, n).
        pixel: its index in a frame.
        low: smallest valid count.
        high: largest valid count.
        value: receives the counts, float64, shape (8,).

    Returns:
        One bit for each frame: bits 0 to 7 where the pixel is not zero, 8 to 15 where it is invalid.
    """
    signature = types.int64(frames, pixel, types.int32, types.int32, value)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        counts, valid, invalid = _take(context, builder, sig, args)
        _store(builder, builder.sitofp(valid, _DOUBLES), _data(context, builder, sig.args[4], args[4]))
        lit = builder.icmp_signed("!=", counts, ir.Constant(_INTS, [0] * LANES))
        return builder.or_(_bits(builder, lit), builder.shl(_bits(builder, invalid), ir.Constant(_I64, LANES)))

    return signature, generate


@intrinsic
def spread_lanes(
    typingctx: Any, coefficients: Any, bins: Any, begin: Any, end: Any, value: Any, variance: Any, sums: Any
) -> Any:
    """Add one pixel of eight frames to its bins: signal += c * value, spread += c * (c * variance).

    Args (as called):
        coefficients: float32.
        bins: bin of each coefficient, unsigned.
        begin: first entry of the pixel.
        end: one past its last entry.
        value: float64, shape (8,).
        variance: float64, shape (8,).
        sums: float64, flat: eight signals, then eight variances, for each bin.
    """
    signature = types.void(coefficients, bins, begin, end, value, variance, sums)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = {n: _data(context, builder, sig.args[n], args[n]) for n in (0, 1, 4, 5, 6)}
        values = _load(builder, arrays[4])
        variances = _load(builder, arrays[5])
        first, last = (context.cast(builder, args[n], sig.args[n], types.int64) for n in (2, 3))
        with cgutils.for_range(builder, last, start=first) as loop:
            coefficient = builder.fpext(builder.load(builder.gep(arrays[0], [loop.index])), _DOUBLE)
            radial_bin = builder.zext(builder.load(builder.gep(arrays[1], [loop.index])), _I64)
            factor = _splat(builder, coefficient, _DOUBLES)
            row = builder.gep(arrays[6], [builder.mul(radial_bin, ir.Constant(_I64, 2 * LANES))])
            signal = builder.bitcast(row, _DOUBLES.as_pointer())
            spread = builder.gep(signal, [ir.Constant(_I32, 1)])
            _store(builder, builder.fadd(_load(builder, signal), builder.fmul(factor, values)), signal)
            share = builder.fmul(factor, builder.fmul(factor, variances))
            _store(builder, builder.fadd(_load(builder, spread), share), spread)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def count_lanes(typingctx: Any, frames: Any, pixel: Any, low: Any, high: Any, target: Any, sums: Any) -> Any:
    """Add one pixel of eight frames to one bin, exactly.

    Args (as called):
        frames: counts, int32, shape (8, n).
        pixel: its index in a frame.
        low: smallest valid count.
        high: largest valid count.
        target: the bin.
        sums: int64, flat: eight sums for each bin.

    Returns:
        One bit for each frame where the pixel is invalid, and is not added.
    """
    signature = types.int64(frames, pixel, types.int32, types.int32, target, sums)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, valid, invalid = _take(context, builder, sig, args)
        _add(context, builder, sig.args[4:], args[4:], valid)
        return _bits(builder, invalid)

    return signature, generate


@intrinsic
def turn_lanes(typingctx: Any, frames: Any, pixel: Any, low: Any, high: Any, tile: Any) -> Any:
    """Read eight neighbouring pixels of eight frames at once, and lay the frames of each pixel side by side.

    Args (as called):
        frames: counts, int32, shape (8, n).
        pixel: index of the first one in a frame.
        low: smallest valid count.
        high: largest valid count.
        tile: receives the counts, int32, shape (8 pixels, 8 frames).

    Returns:
        Other than 0 if one of the 64 is invalid.
    """
    signature = types.int64(frames, pixel, types.int32, types.int32, tile)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = [_load_ints(builder, address) for address in _addresses(context, builder, sig, args)]
        low, high = (_splat(builder, args[n], _INTS) for n in (2, 3))
        invalid = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [0] * LANES)
        for row in rows:
            outside = builder.or_(builder.icmp_signed("<", row, low), builder.icmp_signed(">", row, high))
            invalid = builder.or_(invalid, outside)
        for first, second, distance in _TURN:
            orders = [ir.Constant(_INTS, order) for order in (first, second)]
            for n in range(LANES):
                if not n & distance:
                    pair = rows[n], rows[n + distance]
                    rows[n], rows[n + distance] = (builder.shuffle_vector(*pair, order) for order in orders)
        target = _data(context, builder, sig.args[4], args[4])
        for n, row in enumerate(rows):
            address = builder.gep(target, [ir.Constant(_I64, n * LANES)])
            builder.store(row, builder.bitcast(address, _INTS.as_pointer())).align = 4
        return _bits(builder, invalid)

    return signature, generate


@intrinsic
def add_lanes(typingctx: Any, tile: Any, pixel: Any, target: Any, sums: Any) -> Any:
    """Add one pixel of eight frames to one bin, exactly; every count is valid.

    Args (as called):
        tile: counts, int32, shape (8 pixels, 8 frames).
        pixel: its number in the tile.
        target: the bin.
        sums: int64, flat: eight sums for each bin.
    """
    signature = types.void(tile, pixel, target, sums)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        source = _data(context, builder, sig.args[0], args[0])
        counts = _load_ints(builder, builder.gep(source, [builder.mul(index, ir.Constant(_I64, LANES))]))
        _add(context, builder, sig.args[2:], args[2:], counts)
        return context.get_dummy_value()

    return signature, generate


def _add(context: Any, builder: Any, kinds: Any, args: Any, counts: Any) -> None:
    """Add the counts of eight frames to the eight sums of a bin."""
    row = context.cast(builder, args[0], kinds[0], types.int64)
    pointer = builder.gep(_data(context, builder, kinds[1], args[1]), [builder.mul(row, ir.Constant(_I64, LANES))])
    pointer = builder.bitcast(pointer, _LONGS.as_pointer())
    total = builder.load(pointer)
    total.align = 8
    builder.store(builder.add(total, builder.sext(counts, _LONGS)), pointer).align = 8


def _addresses(context: Any, builder: Any, sig: Any, args: Any) -> list[Any]:
    """Where a pixel lies in each of eight frames: `args` begin with the frames and its index."""
    matrix = context.make_array(sig.args[0])(context, builder, args[0])
    stride = cgutils.unpack_tuple(builder, matrix.strides)[0]
    index = context.cast(builder, args[1], sig.args[1], types.int64)
    start = builder.ptrtoint(matrix.data, _I64)
    start = builder.add(start, builder.mul(index, ir.Constant(_I64, _ITEM_BYTES)))
    addresses = (builder.add(start, builder.mul(stride, ir.Constant(_I64, lane))) for lane in range(LANES))
    return [builder.inttoptr(address, _I32.as_pointer()) for address in addresses]


def _load_ints(builder: Any, pointer: Any) -> Any:
    vector = builder.load(builder.bitcast(pointer, _INTS.as_pointer()))
    vector.align = 4
    return vector


def _take(context: Any, builder: Any, sig: Any, args: Any) -> tuple[Any, Any, Any]:
    """Counts of one pixel of eight frames; the same with 0 where invalid; which are invalid."""
    counts = ir.Constant(_INTS, ir.Undefined)
    for lane, address in enumerate(_addresses(context, builder, sig, args)):
        counts = builder.insert_element(counts, builder.load(address), ir.Constant(_I32, lane))
    too_low = builder.icmp_signed("<", counts, _splat(builder, args[2], _INTS))
    too_high = builder.icmp_signed(">", counts, _splat(builder, args[3], _INTS))
    invalid = builder.or_(too_low, too_high)
    return counts, builder.select(invalid, ir.Constant(_INTS, [0] * LANES), counts), invalid


def _bits(builder: Any, mask: Any) -> Any:
    return builder.zext(builder.bitcast(mask, _I8), _I64)


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _load(builder: Any, pointer: Any) -> Any:
    vector = builder.load(builder.bitcast(pointer, _DOUBLES.as_pointer()))
    vector.align = 8
    return vector


def _store(builder: Any, vector: Any, pointer: Any) -> None:
    builder.store(vector, builder.bitcast(pointer, _DOUBLES.as_pointer())).align = 8


def _splat(builder: Any, scalar: Any, kind: Any) -> Any:
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_I32, 0))
    pattern = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), pattern)
