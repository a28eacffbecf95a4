"""A tomography of any program: a scan of ours, DXchange, NXtomo, a NeXus master, or HDF5 whose paths are given."""

from pathlib import Path
from typing import Literal

import numpy as np

from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.storage.plain_tomography import TomographyPaths, open_plain
from danmax_bluesky.storage.reading import open_scan

AngleUnit = Literal["auto", "deg", "rad"]


def frames_of_file(
    path: Path, detector: str = "", paths: TomographyPaths | None = None, unit: AngleUnit = "auto"
) -> tuple[TomographyFrames, str]:
    """The frames of a file by their kind, and its title.

    Args:
        path: of the file.
        detector: of which; "" takes the only one that has angles, or the first.
        paths: where the parts lie; None looks where the formats have them.
        unit: of the angles; "auto" takes what the file says, and degrees where it says nothing.

    Raises:
        ScanError: there is nothing to reconstruct from.
        StorageError: the file cannot be read, or its frames are not found.
    """
    if paths is not None:
        plain = open_plain(path, paths)
        theta = np.rad2deg(plain.theta) if _is_radians(plain.unit, unit) else plain.theta
        return TomographyFrames.of_columns(plain.source, plain.key, theta, {}, path.name), ""
    scan = open_scan(path)
    names = [detector] if detector else [name for name, of in scan.detectors.items() if "rotation_angle" in of.coords]
    if not names:
        raise ScanError(
            f"{path}: no frames with angles are found where DXchange, NXtomo and NeXus have them; name them "
            "with --data, --flats, --darks and --theta"
        )
    dataset = scan.detector(names[0])
    if "rotation_angle" in dataset.coords and _is_radians(dataset["rotation_angle"].attrs.get("units", ""), unit):
        in_degrees = np.rad2deg(dataset["rotation_angle"].values)
        dataset = dataset.assign_coords(rotation_angle=("frame", in_degrees))
    return TomographyFrames.of(dataset, names[0], scan.sources.get(names[0])), scan.title


def _is_radians(written: str, unit: AngleUnit) -> bool:
    return unit == "rad" or (unit == "auto" and written.lower().startswith("rad"))
