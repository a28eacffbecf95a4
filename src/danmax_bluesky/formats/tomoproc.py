"""The file of reconstructed slices: NXtomoproc of NeXus, with a picture where viewers look for one.

Source: the application definition NXtomoproc (NeXus).
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from danmax_bluesky.formats.nexus import iso, quantity
from danmax_bluesky.formats.nxtomo import entry_name
from danmax_bluesky.formats.tree import Dataset, ExternalLink, Group, nx

SLICES = "/entry/data/data"
_CENTRED_MM = 1000.0


@dataclass(frozen=True)
class SlicesLayout:
    """What is known of slices before they are there.

    Attributes:
        run_uid: of the run that measured the projections.
        title: the command as typed.
        sample: name of the sample.
        detector: that took the projections.
        rows: of the detector that became slices.
        width: of a slice, which is square, pixels.
        pixel_m: of the detector, at the sample, metres; None if it is not known.
        centre_px: column of the rotation axis, of the detector.
        centre_sigma_px: its standard uncertainty, pixels of the detector; 0 where it was given.
        algorithm: method of the reconstruction, and where it is described.
        bin_px: pixels of the detector for one of a slice, in each direction.
        raw_file: path of the file with the projections, as seen from the file of the slices.
        parameters: of the reconstruction, as JSON holds them.
        remarks: what a reader of the values must know, one sentence each.
    """

    run_uid: str
    title: str
    sample: str
    detector: str
    rows: Sequence[int]
    width: int
    pixel_m: float | None
    centre_px: float
    raw_file: str
    parameters: Mapping[str, Any]
    remarks: Sequence[str] = ()
    centre_sigma_px: float = 0.0
    algorithm: str = ""
    bin_px: int = 1


def slices_tree(layout: SlicesLayout) -> Group:
    """The file without its slices: these are appended along the first axis of `SLICES`, float32, one a chunk.

    Slices are in 1/m where the pixel is known, in attenuation a pixel of the slice otherwise. Row 0 of a slice is its
    upper edge.
    """
    has_pixel_size = layout.pixel_m is not None
    pixel_mm = layout.pixel_m * _CENTRED_MM if layout.pixel_m is not None else 1.0
    units = "mm" if has_pixel_size else "pixel"
    across = (np.arange(layout.width) - (layout.width - 1) / 2) * pixel_mm * layout.bin_px
    heights = (np.asarray(layout.rows) + (layout.bin_px - 1) / 2) * pixel_mm
    size = (layout.width, layout.width)
    data = nx(
        "NXdata",
        {
            "data": Dataset(
                np.empty((0, *size), np.float32),
                {"units": "1/m" if has_pixel_size else "1/pixel", "long_name": "linear attenuation coefficient"},
                chunks=(1, *size),
                maxshape=(None, *size),
            ),
            "z": quantity(heights, units, long_name="height on the detector"),
            "y": quantity(-across, units, long_name="y"),
            "x": quantity(across, units, long_name="x"),
            "row": Dataset(np.asarray(layout.rows, np.int64)),
        },
        signal="data",
        axes=["z", "y", "x"],
        transform="none",
        scaling="linear",
    )
    process = nx(
        "NXprocess",
        {
            "program": Dataset("danmax_bluesky"),
            "version": Dataset(version("danmax-bluesky")),
            "date": Dataset(iso(time.time())),
            "parameters": nx(
                "NXparameters",
                {
                    "raw_file": Dataset(layout.raw_file),
                    "algorithm": Dataset(layout.algorithm),
                    "center": quantity(layout.centre_px, "pixel"),
                    "center_error": quantity(layout.centre_sigma_px, "pixel"),
                    "settings": Dataset(json.dumps(dict(layout.parameters))),
                },
            ),
            **({"remarks": Dataset("\n".join(layout.remarks))} if layout.remarks else {}),
        },
    )
    entry = nx(
        "NXentry",
        {
            "definition": Dataset("NXtomoproc"),
            "title": Dataset(layout.title),
            "instrument": ExternalLink(layout.raw_file, f"/{entry_name(layout.detector)}/instrument"),
            "sample": nx("NXsample", {"name": Dataset(layout.sample)}),
            "reconstruction": process,
            "data": data,
            "measurement": ExternalLink(layout.raw_file, "/entry"),
        },
        default="data",
    )
    return Group(
        {"entry": entry},
        {"NX_class": "NXroot", "default": "entry", "creator": "danmax_bluesky", "run_uid": layout.run_uid},
    )
