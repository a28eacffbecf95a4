"""Slices from a measured tomography: as arrays, or as a file, written by whoever calls or in a process of its own.

    python -m danmax_bluesky.pipelines.slice_process JOB

JOB is a `ReconstructionJob` as JSON. This is the last of the eleven steps of a tomography: a slice to look at while the
sample is still mounted, or the whole volume, as the settings file says that the scan names.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from danmax_bluesky.errors import DanmaxError, ScanError
from danmax_bluesky.formats.tomoproc import SlicesLayout
from danmax_bluesky.pipelines.pictures import save_image
from danmax_bluesky.pipelines.slice_request import ACTOR, ReconstructionJob, covers_half_turn
from danmax_bluesky.runs.frame_table import angle_remarks
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.reading import Scan, open_scan
from danmax_bluesky.storage.slice_writer import write_slices
from danmax_bluesky.tomography.centre import find_centre
from danmax_bluesky.tomography.darks_and_flats import PerFrame, moments_of
from danmax_bluesky.tomography.direct_fourier import DirectFourier, Reconstruction, sinogram
from danmax_bluesky.tomography.field import NOT_RIGHT, field_remark
from danmax_bluesky.tomography.tori import ReconstructionSettings, Window

CENTRE_ROWS = 12
"""Rows of the middle half of the field, where light and sample are, that the rotation axis is found from."""
FIELD_ROWS = 4
"""Rows among those reconstructed at which it is seen whether the sample fits into the field."""
NICENESS = 10
"""The measurement goes first."""
MOST_BYTES = 2**30
"""Of the sinograms, and of the spectra, that are held at once."""
_PROJECTION, _FLAT, _DARK = 0, 1, 2
_log = logging.getLogger(__name__)


def reconstruct_scan(job: ReconstructionJob) -> Path:
    """Write the slices of a scan, and note that in its provenance.

    Raises:
        ScanError: it cannot be reconstructed: no projections, no flats, too small a turn.
        StorageError: frames cannot be read, or the slices cannot be written.
    """
    files = job.files
    with Provenance(files, computed=True).action(
        ACTOR,
        description=f"slices of {job.detector}, {job.settings.get('rows')}, axis {job.center}",
        parameters={"detector": job.detector, "settings": job.settings, "center": job.center},
        inputs=[note_of(files.master, files.raw)],
    ) as outputs:
        written, remarks = _reconstruct(job)
        outputs += [note_of(path, files.raw) for path in written]
        outputs.message = "; ".join(remarks)
    for remark in remarks:
        _log.warning("%s, %s: %s", job.stem, job.detector, remark)
    return job.output


def reconstruct(
    scan: Scan | str | Path,
    rows: int | Sequence[int] | None = None,
    *,
    detector: str | None = None,
    centre_px: float | None = None,
    window: Window = "ramp",
    edge_px: int = 0,
) -> Reconstruction:
    """Slices of a measured tomography as arrays; nothing is written.

        result = reconstruct("scan-0012.h5", rows=range(500, 510))
        result.volume, result.centre_px

    Each projection is divided by the flats nearest to it in time, the rotation axis is found from the data, and a slice
    holds the attenuation of each pixel.

    Args:
        scan: from `open_scan`, or the path of its file.
        rows: row, or rows, of the detector that become slices; None takes the one in the middle.
        detector: name; None takes the first that has frames.
        centre_px: column of the rotation axis, 0 at the middle of the first column; None finds it.
        window: softens high frequencies: "ramp" does not, "shepp-logan", "cosine" and "hann" do so more and more.
        edge_px: columns of continuation on either side; an eighth to a quarter of the width for a sample that is wider
            than the field.

    Raises:
        ScanError: there is nothing to reconstruct from: no flats, less than half a turn, or no such row.
        StorageError: frames cannot be read.
    """
    opened = scan if isinstance(scan, Scan) else open_scan(scan)
    frames = opened.detector(detector)
    name = detector or next(iter(opened.detectors))
    stacks = _Stacks.of(frames, name)
    wanted = [stacks.height // 2] if rows is None else [rows] if isinstance(rows, int) else [int(row) for row in rows]
    if outside := [row for row in wanted if not 0 <= row < stacks.height]:
        raise ScanError(
            f"rows = {outside[0]}: frames of {name} have the rows 0 to {stacks.height - 1}; name one of them"
        )
    if not wanted:
        raise ScanError("rows: none are named; name one, or leave them out for the one in the middle")
    axis_px = centre_px
    if axis_px is None:
        central = np.linspace(stacks.height / 4, 3 * stacks.height / 4, CENTRE_ROWS, endpoint=False).astype(int)
        axis_px = find_centre(stacks.sinograms(sorted({*central.tolist()})), stacks.theta_deg).centre_px
    engine = DirectFourier(
        stacks.width, stacks.theta_deg, axis_px, window=window, edge_px=edge_px, batch=max(2, min(8, len(wanted)))
    )
    volume = np.empty((len(wanted), stacks.width, stacks.width), np.float32)
    remark = ""
    for start in range(0, len(wanted), stacks.rows_at_once):
        lines = stacks.sinograms(wanted[start : start + stacks.rows_at_once])
        volume[start : start + len(lines)] = engine(lines)
        remark = remark or field_remark(lines, stacks.theta_deg, axis_px, edge_px)
    angles = frames["rotation_angle"].values[frames["image_key_control"].values == _PROJECTION]
    return Reconstruction(volume, axis_px, int(np.sum(~np.isfinite(angles))), remark)


def _reconstruct(job: ReconstructionJob) -> tuple[list[Path], list[str]]:
    """Write the slices; the files, and what is to be told of them."""
    settings = ReconstructionSettings.model_validate(job.settings)
    frames = open_scan(job.files.master).detector(job.detector)
    stacks = _Stacks.of(frames, job.detector)
    rows = settings.rows_of(stacks.height)
    if not rows:
        raise ScanError(f"rows = {settings.rows}: frames of {job.detector} have {stacks.height} rows")
    fit = max(1, min(CENTRE_ROWS, stacks.rows_at_once - 1 - FIELD_ROWS))
    middle = np.linspace(stacks.height / 4, 3 * stacks.height / 4, fit, endpoint=False).astype(int)
    central = sorted({*middle.tolist(), rows[len(rows) // 2]})
    looked_at = [rows[index] for index in np.linspace(0, len(rows) - 1, FIELD_ROWS).astype(int)]
    spread = sorted({*central, *looked_at})
    near = stacks.sinograms(spread)
    if job.center == "tori":
        if settings.centre_px is None:
            raise ScanError("center 'tori' asks for the axis of the settings file, which does not say centre_px")
        centre_px = settings.centre_px
    else:
        centre_px = find_centre(near[np.isin(spread, central)], stacks.theta_deg).centre_px
    too_wide = field_remark(near, stacks.theta_deg, centre_px, settings.edge_px)
    remarks = [text for text in (too_wide, _angle_remarks(frames)) if text]
    engine = DirectFourier(
        stacks.width,
        stacks.theta_deg,
        centre_px,
        window=settings.window,
        edge_px=settings.edge_px,
        batch=max(2, min(8, MOST_BYTES // (16 * len(stacks.theta_deg) * stacks.width))),
    )
    scale = 1.0 if job.pixel_m is None else 1.0 / job.pixel_m
    kept: dict[int, np.ndarray] = {}

    def blocks() -> Iterator[np.ndarray]:
        for block in stacks.blocks(rows):
            lines = near[[spread.index(row) for row in block]] if set(block) <= set(spread) else stacks.sinograms(block)
            slices = engine(lines) * np.float32(scale)
            if rows[len(rows) // 2] in block:
                kept[0] = slices[list(block).index(rows[len(rows) // 2])]
            yield slices

    layout = SlicesLayout(
        run_uid=job.run_uid,
        title=job.title,
        sample=job.sample,
        detector=job.detector,
        rows=rows,
        width=stacks.width,
        pixel_m=job.pixel_m,
        centre_px=centre_px,
        raw_file=os.path.relpath(job.files.master, job.output.parent),
        parameters={**job.settings, "center": job.center},
        remarks=tuple(remarks),
    )
    write_slices(job.output, layout, blocks())
    if not settings.picture:
        return [job.output], remarks
    label = "attenuation / 1/m" if job.pixel_m else "attenuation a pixel"
    title = f"{job.sample or job.stem}: slice of row {rows[len(rows) // 2]}, axis at column {centre_px:.2f}"
    title += f"\n{NOT_RIGHT}" if too_wide else ""
    return [job.output, save_image(job.output.with_suffix(".png"), kept[0], title, label=label)], remarks


def _angle_remarks(frames: xr.Dataset) -> str:
    """How many projections are left out, or have an angle that is no plain measurement; "" where no flags are known."""
    if "rotation_angle_flag" not in frames.coords:
        return ""
    return angle_remarks(frames["image_key_control"].values, frames["rotation_angle_flag"].values)


@dataclass(frozen=True)
class _Stacks:
    """The frames of a tomography by their kind, read row by row.

    Attributes:
        moments: when each was taken: seconds, or numbers in the order taken.
        light: how much light each got without a sample: exposure, times the ring's current where that is known.
    """

    projections: xr.DataArray
    flats: xr.DataArray
    darks: xr.DataArray
    theta_deg: np.ndarray
    moments: PerFrame
    light: PerFrame

    @classmethod
    def of(cls, frames: xr.Dataset, detector: str) -> "_Stacks":
        """Of what a scan's detector saw.

        Raises:
            ScanError: there is nothing to reconstruct from.
        """
        missing = [name for name in ("image_key_control", "rotation_angle") if name not in frames.coords]
        if missing:
            raise ScanError(f"{detector}: the file does not tell {' and '.join(missing)} of its frames")
        key = frames["image_key_control"].values
        theta = np.asarray(frames["rotation_angle"].values, float)
        chosen = (key == _PROJECTION) & np.isfinite(theta)
        if not covers_half_turn(theta[chosen]):
            raise ScanError(f"{detector}: {chosen.sum()} projections do not cover half a turn; nothing to reconstruct")
        if not (key == _FLAT).any():
            raise ScanError(f"{detector}: there are no flats; measure some, or link those of another scan")
        kinds = [np.flatnonzero(kind) for kind in (chosen, key == _FLAT, key == _DARK)]
        projections, flats, darks = (frames["data"].isel(frame=kind) for kind in kinds)
        number = _values(frames, "sequence_number")
        if number is None or not np.isfinite(number).all():
            number = np.arange(len(key))
        moments = np.full(len(key), np.nan)
        used, bright = np.concatenate(kinds), np.concatenate(kinds[:2])
        time_s = _values(frames, "time")
        moments[used] = moments_of(None if time_s is None else time_s[used], number[used])
        light = np.ones(len(key))
        exposure_s, current = _values(frames, "count_time"), _values(frames, "ring_current")
        scale = _values(frames, "scale")
        for values in (None if exposure_s is None else exposure_s * (1.0 if scale is None else scale), current):
            if values is not None and (values[bright] > 0).all():  # NaN is not
                light[bright] *= values[bright]
        return cls(
            projections,
            flats,
            darks,
            theta[chosen],
            PerFrame.chosen(moments, *kinds),
            PerFrame.chosen(light, *kinds),
        )

    @property
    def height(self) -> int:
        return int(self.projections.shape[1])

    @property
    def width(self) -> int:
        return int(self.projections.shape[2])

    def sinograms(self, rows: Any) -> np.ndarray:
        """Of these rows, shape (n_rows, n_angles, width)."""
        stacks = (self.projections, self.flats, self.darks)
        projections, flats, darks = (stack.isel(y=list(rows)).values for stack in stacks)
        return sinogram(projections, flats, darks, moments=self.moments, light=self.light)

    def blocks(self, rows: range) -> Iterator[range]:
        """The rows in blocks that fit into memory."""
        for start in range(0, len(rows), self.rows_at_once):
            yield rows[start : start + self.rows_at_once]

    @property
    def rows_at_once(self) -> int:
        """Whose raw values and sinograms fit into memory."""
        return max(1, MOST_BYTES // (len(self.theta_deg) * self.width * 8))


def _values(frames: xr.Dataset, name: str) -> np.ndarray | None:
    """What the file tells of every frame, or None."""
    return np.asarray(frames[name].values, float) if name in frames.coords else None


def main(words: list[str]) -> int:
    """Do one job; returns the status of the process, and prints what was written or why nothing was."""
    try:
        sys.stdout.write(f"{reconstruct_scan(ReconstructionJob.loads(words[0]))}\n")
    except DanmaxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    os.nice(NICENESS)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
