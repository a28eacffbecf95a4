"""Whether the lists of sources of virtual datasets are whole, before HDF5 reads them.

HDF5 keeps a checksum of such a list, but compares it only after it has read the list; one that is damaged ends the
process. So it is compared here, in the bytes of the file. Names and layouts are those of the HDF5 File Format
Specification 3.0: object headers IV.A.1, the data layout message IV.A.2.i, global heaps III.E, checksums in the notes.
"""

import functools
import struct
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Self

_DATA_LAYOUT, _CONTINUATION, _VIRTUAL = 0x08, 0x10, 3
_MOST_BLOCKS = 1000  # of one header: a damaged one may lead back to itself
_UNORDERED, _ORDERED, _OLD = struct.Struct("<BHB"), struct.Struct("<BHB2x"), struct.Struct("<HHB3x")
"""Before each message of a header: its kind, length and flags; with the order in which it was made, or of version 1."""
_HEAP = b"GCOL"
_NOWHERE = 2**64 - 1
_BITS = 0xFFFFFFFF


class SourceLists:
    """The lists of sources in the bytes of an HDF5 file, which HDF5 may have open.

    Args:
        path: of the file.
        base: where the file begins as HDF5 counts, bytes: the size of its user block.

    Raises:
        OSError: the file was removed meanwhile.
        ValueError: it is empty.
    """

    def __init__(self, path: Path, base: int = 0) -> None:
        with path.open("rb") as stream:
            self._content = mmap(stream.fileno(), 0, access=ACCESS_READ)
        self._base = base

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def __bool__(self) -> bool:
        """Whether there may be any: looks through the whole file."""
        return self._content.find(_HEAP) >= 0

    def is_damaged(self, address: int) -> bool:
        """True for a virtual dataset whose list of sources is not what was written.

        Args:
            address: of the object, bytes from `base`.
        """
        content, base = self._content, self._base
        try:
            return not all(_is_whole(content, base, *place) for place in _virtual_layouts(content, base, address))
        except (struct.error, IndexError, ValueError, OverflowError):
            return False  # the header itself is damaged, which HDF5 sees by its checksum


def _virtual_layouts(content: mmap, base: int, address: int) -> Iterator[tuple[int, int]]:
    """Address of the heap, and number in it, of the list of sources of an object; none for all but virtual datasets."""
    start = base + address
    if content[start : start + 4] == b"OHDR":
        flags = content[start + 5]
        first, width = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0), 1 << (flags & 3)
        head, around = _ORDERED if flags & 4 else _UNORDERED, 4
        blocks = [(first + width, _number(content, first, width))]
    elif content[start : start + 2] == b"\x01\x00":
        head, around = _OLD, 0
        blocks = [(start + 16, _number(content, start + 8, 4))]
    else:
        return
    for offset, size in blocks:  # it grows while it is gone through
        end = offset + size
        while offset + head.size <= end:
            kind, length, _flags = head.unpack_from(content, offset)
            offset += head.size
            if kind == _CONTINUATION and len(blocks) < _MOST_BLOCKS:
                further, room = struct.unpack_from("<QQ", content, offset)
                blocks.append((base + further + around, room - 2 * around))  # between a signature and a checksum
            elif kind == _DATA_LAYOUT and length >= 14 and content[offset] >= 4 and content[offset + 1] == _VIRTUAL:
                heap, number = struct.unpack_from("<QI", content, offset + 2)
                if heap != _NOWHERE:  # no source was ever given
                    yield heap, number
            offset += length


def _is_whole(content: mmap, base: int, heap: int, number: int) -> bool:
    start = base + heap
    if content[start : start + 4] != _HEAP:
        return False
    offset, end = start + 16, start + _number(content, start + 8, 8)
    while offset + 16 <= end:
        index, size = struct.unpack_from("<H6xQ", content, offset)
        if index == number:
            data = content[offset + 16 : offset + 16 + size]
            return size >= 13 and len(data) == size and lookup3(data[:-4]) == _number(data, size - 4, 4)
        if index == 0:  # what is left of the heap
            return False
        offset += 16 + -(-size // 8) * 8
    return False


def _number(content: mmap | bytes, offset: int, width: int) -> int:
    return int.from_bytes(content[offset : offset + width], "little")


@functools.lru_cache(maxsize=64)
def lookup3(data: bytes) -> int:
    """Jenkins' checksum of bytes, which HDF5 has for all that is not data; Bob Jenkins, lookup3, 2006."""
    if not data:
        return 0xDEADBEEF
    a = b = c = (0xDEADBEEF + len(data)) & _BITS
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data + bytes(-len(data) % 12))
    for index in range(0, len(words), 3):
        a, b, c = (a + words[index]) & _BITS, (b + words[index + 1]) & _BITS, (c + words[index + 2]) & _BITS
        if index + 3 == len(words):
            break
        for turns in ((4, 6, 8), (16, 19, 4)):
            a, c = ((a - c) & _BITS) ^ _turned(c, turns[0]), (c + b) & _BITS
            b, a = ((b - a) & _BITS) ^ _turned(a, turns[1]), (a + c) & _BITS
            c, b = ((c - b) & _BITS) ^ _turned(b, turns[2]), (b + a) & _BITS
    for turn_b, turn_c, turn_a in ((14, 11, 25), (16, 4, 14)):
        c = ((c ^ b) - _turned(b, turn_b)) & _BITS
        a = ((a ^ c) - _turned(c, turn_c)) & _BITS
        b = ((b ^ a) - _turned(a, turn_a)) & _BITS
    return ((c ^ b) - _turned(b, 24)) & _BITS


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _BITS
