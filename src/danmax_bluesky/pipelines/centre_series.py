"""The same slice about one rotation axis after the other, side by side, so that the right one is seen by eye."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.binned_frames import binned
from danmax_bluesky.pipelines.one_pass import MEGABYTE, read_lines
from danmax_bluesky.pipelines.pictures import save_pictures
from danmax_bluesky.pipelines.reconstruction import frame_steps
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.tomography.methods import Geometry, reconstruct_with
from danmax_bluesky.tomography.overhang import estimated_edges
from danmax_bluesky.tomography.stripes import remove_stripes
from danmax_bluesky.tomography.tori import ReconstructionSettings

MOST_CENTRES = 60
_ACROSS = 5


def columns_of(first: float, last: float, step: float) -> list[float]:
    """The columns of a series, the last one too.

    Raises:
        ScanError: there are none, or too many for one picture.
    """
    count = int(np.floor((last - first) / step + 1e-9)) + 1 if step > 0 else 0
    if not 1 <= count <= MOST_CENTRES:
        raise ScanError(
            f"columns {first:g} to {last:g} in steps of {step:g} are {max(count, 0)} slices; give 1 to {MOST_CENTRES}, "
            "as FIRST:LAST:STEP"
        )
    return [first + number * step for number in range(count)]


def slices_about(
    frames: TomographyFrames,
    settings: ReconstructionSettings,
    columns: Sequence[float],
    pixel_m: float | None = None,
) -> npt.NDArray[np.float32]:
    """The slice in the middle about each axis, by the Fourier method, shape (n_columns, width, width).

    Args:
        frames: of the tomography.
        settings: of the chain, with the rows, the one in the middle of which is taken.
        columns: of the detector, for the axis.
        pixel_m: as of `reconstruct_frames`.

    Raises:
        ScanError: a column lies beyond the field, or the frames cannot be reconstructed.
    """
    wanted = settings.rows_of(frames.height)
    smaller, pixels = binned(frames, settings)
    field = [pixels.detector_column(at) for at in (0, smaller.width - 1)]
    if outside := [column for column in columns if not field[0] <= column <= field[1]]:
        raise ScanError(
            f"{frames.name}: column {outside[0]:g} lies beyond the field, columns {field[0]:g} to {field[1]:g}"
        )
    if not wanted:
        raise ScanError(f"rows = {settings.rows}: frames of {frames.name} have {frames.height} rows")
    row = min(wanted[len(wanted) // 2] // pixels.bin_px, smaller.height - 1)
    steps = frame_steps(settings, pixel_m, smaller, pixels)
    with read_lines(smaller, [], [row], settings.memory_mb * MEGABYTE, steps=steps) as lines:
        sinogram, theta_deg = lines.near, lines.theta_deg
    interleaved = np.ascontiguousarray(np.moveaxis(sinogram, 0, 2))
    remove_stripes(interleaved, settings.stripes, settings.stripe_px)
    sinogram = np.moveaxis(interleaved, 2, 0)
    images = np.empty((len(columns), smaller.width, smaller.width), np.float32)
    for number, column in enumerate(columns):
        at = pixels.binned_column(column)
        edges = estimated_edges(sinogram, at) if settings.edge_px == "auto" else settings.edge_px
        geometry = Geometry(smaller.width, theta_deg, at, settings.picture_window, edges)
        images[number] = reconstruct_with("fourier", sinogram, geometry)[0]
    return images


def save_centre_series(
    path: Path,
    frames: TomographyFrames,
    settings: ReconstructionSettings,
    columns: Sequence[float],
    pixel_m: float | None = None,
) -> Path:
    """Write the picture; the arguments are those of `slices_about`.

    Raises:
        ScanError: as of `slices_about`.
        StorageError: frames cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    images = slices_about(frames, settings, columns, pixel_m)
    names = [f"column {column:g}" for column in columns]
    title = "one slice about each axis; the right one has sharp edges, and no arcs or doubled edges"
    return save_pictures(path, list(images), names, title, "attenuation a pixel", across=_ACROSS)
