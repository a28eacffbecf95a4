"""What an HDF5 file says of the pixels of its detector: where that is looked for, and what it means.

A mask is looked for beside the frames, in the file that was opened and in those that it links to, and in each detector
of the file (`/entry/instrument/*`), there also in `detectorSpecific`, where Eiger masters have it. Its shape is (H, W),
(1, H, W), or (n, H, W), of which a pixel that is bad in one is bad.

The rule is one for all: 0 is good, and anything else is bad, NaN included. In NeXus' `pixel_mask` each bit tells of one
reason (0 gap, 1 dead, 2 counts too little, 3 counts too much, 4 noisy, 6 part of a cluster, 8 masked by a user, 31
virtual, that is, between two chips with a value of its neighbours); none of these is a measured count, so each is bad.
"""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

MASK = "pixel_mask"
SPECIFIC = "detectorSpecific"


def bad_pixels(values: np.ndarray) -> np.ndarray:
    """True where a pixel is bad, shape (H, W), of a mask of shape (H, W) or (n, H, W)."""
    bad = np.isnan(values) | (values != 0) if values.dtype.kind == "f" else values != 0
    return bad if bad.ndim == 2 else bad.any(axis=0)


def is_mask(node: Any, shape: tuple[int, int]) -> bool:
    """True if a node of a file is a mask for frames of this shape."""
    if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "iufb":
        return False
    return node.ndim in (2, 3) and node.shape[-2:] == shape and 0 not in node.shape


def node_of(group: h5py.Group, name: str) -> Any:
    """What a name in a group leads to; None where that is nothing, or a link to a file that is not there."""
    try:
        return group.get(name)
    except (KeyError, OSError, RuntimeError):
        return None


def groups_of_detectors(file: h5py.File) -> Iterator[h5py.Group]:
    """The groups of a file in which detectors describe themselves."""
    for entry_name in file:
        entry = node_of(file, str(entry_name))
        instrument = node_of(entry, "instrument") if isinstance(entry, h5py.Group) else None
        if not isinstance(instrument, h5py.Group):
            continue
        for name in instrument:
            detector = node_of(instrument, str(name))
            if isinstance(detector, h5py.Group):
                yield detector
                specific = node_of(detector, SPECIFIC)
                if isinstance(specific, h5py.Group):
                    yield specific
