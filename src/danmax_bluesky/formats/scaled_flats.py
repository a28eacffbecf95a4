"""The file of the flats that were exposed longer, or shorter, than the projections: as if exposed like these.

Programs that divide projections by flats know no exposures. For them the counts of such a flat above the dark are
multiplied by the exposure of a projection over its own. The frames of the detector stay as they are.
"""

from pathlib import Path

import numpy as np

from danmax_bluesky.formats.nexus import quantity, root_attributes
from danmax_bluesky.formats.tree import Dataset, Group, nx
from danmax_bluesky.runs.frame_table import SCALE_TEXT, FrameTable, ImageKey
from danmax_bluesky.runs.record import RunRecord

MADE_OF = "made_of"
"""Attribute of the root: what the file was made of; the same text means the same flats."""


def data_path(detector: str) -> str:
    """HDF5 path of the scaled flats."""
    return f"/entry/instrument/{detector}/data"


def scaled_dtype(table: FrameTable) -> str:
    """NumPy type string of a scaled pixel: a float that holds each value of the detector."""
    return np.result_type(np.dtype(table.dtype), np.float32).str


def flat_scales(table: FrameTable) -> np.ndarray:
    """What the counts above the dark of each frame must be multiplied by, shape (n_frames,).

    It is the exposure of a projection over that of the flat; 1 for every other frame, and where an exposure is not
    known.
    """
    scale = np.ones(len(table))
    projections = table.exposure_s[table.of(ImageKey.PROJECTION)]
    finite = projections[np.isfinite(projections)]
    if not len(finite):
        return scale
    flats = table.of(ImageKey.FLAT)
    exposure_s = table.exposure_s[flats]
    usable = np.isfinite(exposure_s) & (exposure_s > 0)
    wanted = float(np.median(finite)) / np.where(usable, exposure_s, np.nan)
    scale[flats] = np.where(usable & ~np.isclose(wanted, 1.0, rtol=1e-6, atol=0), wanted, 1.0)
    return scale


def scaled_flats_tree(
    record: RunRecord, table: FrameTable, flats: np.ndarray, scale: np.ndarray, path: Path, made_of: str, time_s: float
) -> Group:
    """The file without its frames: these are appended along the first axis of `data_path`.

    Args:
        record: of the run.
        table: of the detector, with the frames as the detector wrote them.
        flats: which of its frames the file holds, shape (n,).
        scale: of every frame of the table, shape (n_frames,).
        path: where the file will lie.
        made_of: see `MADE_OF`.
        time_s: POSIX seconds of now.
    """
    size = table.frame_shape
    detector = nx(
        "NXdetector",
        {
            "data": Dataset(
                np.empty((0, *size), scaled_dtype(table)),
                {"units": "counts", "description": "flats, scaled to the exposure of a projection"},
                chunks=(1, *size),
                maxshape=(None, *size),
                compression="bitshuffle-lz4",
            ),
            "scale": quantity(scale[flats], "1", description=SCALE_TEXT),
            "count_time": quantity(table.exposure_s[flats], "s", description="exposure of the flat itself"),
            "sequence_number": Dataset(table.sequence[flats].astype(np.uint32)),
        },
    )
    entry = nx("NXentry", {"instrument": nx("NXinstrument", {table.detector: detector})})
    return Group({"entry": entry}, {**root_attributes(record, path.name, time_s), MADE_OF: made_of})
