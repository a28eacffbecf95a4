"""Slices from a measured tomography: as arrays, or as a file, written by whoever calls or in a process of its own.

    python -m danmax_bluesky.pipelines.slice_process JOB

JOB is a `ReconstructionJob` as JSON. This is the last of the eleven steps of a tomography: a slice to look at while the
sample is still mounted, or the whole volume, as the settings file says that the scan names.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from danmax_bluesky.errors import DanmaxError, ScanError
from danmax_bluesky.pipelines.reconstruction import Report, reconstruct_frames
from danmax_bluesky.pipelines.slice_request import ACTOR, ReconstructionJob
from danmax_bluesky.pipelines.slice_target import SlicesTarget, write_reconstruction
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames, naming_file
from danmax_bluesky.runs.frame_table import angle_remarks
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.reading import Scan, open_scan
from danmax_bluesky.storage.slice_export import ABOUT
from danmax_bluesky.tomography.direct_fourier import Reconstruction
from danmax_bluesky.tomography.tori import ReconstructionSettings, Window

NICENESS = 10
"""The measurement goes first."""
_log = logging.getLogger(__name__)


def reconstruct_scan(job: ReconstructionJob, report: Report | None = None) -> list[Path]:
    """Write the slices of a scan, and note that in its provenance; the files.

    Args:
        job: what is to be reconstructed.
        report: as of `reconstruct_frames`.

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
        with naming_file(files.master):
            written, remarks = _reconstruct(job, report)
        outputs += [note_of(path if path.is_file() else path / ABOUT, files.raw) for path in written]
        outputs.message = "; ".join(remarks)
    for remark in remarks:
        _log.warning("%s, %s: %s", job.stem, job.detector, remark)
    return written


def reconstruct(
    scan: Scan | str | Path,
    rows: int | Sequence[int] | None = None,
    *,
    detector: str | None = None,
    centre_px: float | None = None,
    window: Window = "ramp",
    edge_px: int | Literal["auto"] = "auto",
) -> Reconstruction:
    """Slices of a measured tomography as arrays; nothing is written.

    For example::

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
        edge_px: columns of continuation on either side of a sample that is wider than the field; "auto" estimates how
            far it reaches.

    Raises:
        ScanError: there is nothing to reconstruct from: no flats, less than half a turn, or no such row.
        StorageError: frames cannot be read.
    """
    opened = scan if isinstance(scan, Scan) else open_scan(scan)
    name = detector or next(iter(opened.detectors), "")
    frames = TomographyFrames.of(opened.detector(detector), name, opened.sources.get(name))
    wanted = [frames.height // 2] if rows is None else [rows] if isinstance(rows, int) else [int(row) for row in rows]
    if outside := [row for row in wanted if not 0 <= row < frames.height]:
        raise ScanError(
            f"rows = {outside[0]}: frames of {name} have the rows 0 to {frames.height - 1}; name one of them"
        )
    if not wanted:
        raise ScanError("rows: none are named; name one, or leave them out for the one in the middle")
    settings = ReconstructionSettings(window=window, edge_px=edge_px)
    slices = reconstruct_frames(frames, settings, wanted, centre_px=centre_px)
    try:
        volume = np.empty((len(wanted), slices.width, slices.width), np.float32)
        for block, images in slices.blocks():
            for row, image in zip(block, images, strict=True):
                volume[[index for index, asked in enumerate(wanted) if asked == row]] = image
    finally:
        slices.close()
    return Reconstruction(volume, slices.axis.centre_px, frames.left_out, "; ".join(slices.remarks))


def _reconstruct(job: ReconstructionJob, report: Report | None) -> tuple[list[Path], list[str]]:
    """Write the slices; the files, and what is to be told of them."""
    settings = ReconstructionSettings.model_validate(job.settings)
    scan = open_scan(job.files.master)
    dataset = scan.detector(job.detector)
    frames = TomographyFrames.of(dataset, job.detector, scan.sources.get(job.detector))
    centre_px = None
    if job.center == "tori":
        if settings.centre_px is None:
            raise ScanError("center 'tori' asks for the axis of the settings file, which does not say centre_px")
        centre_px = settings.centre_px
    target = SlicesTarget(
        output=job.output,
        title=job.title,
        sample=job.sample or job.stem,
        detector=job.detector,
        raw_file=job.files.master,
        run_uid=job.run_uid,
        pixel_m=job.pixel_m,
        parameters={**job.settings, "center": job.center},
        remarks=tuple(text for text in (_angle_remarks(dataset),) if text),
    )
    return write_reconstruction(frames, settings, target, centre_px=centre_px, report=report)


def _angle_remarks(frames: xr.Dataset) -> str:
    """How many projections are left out, or have an angle that is no plain measurement; "" where no flags are known."""
    if "rotation_angle_flag" not in frames.coords:
        return ""
    return angle_remarks(frames["image_key_control"].values, frames["rotation_angle_flag"].values)


def main(words: list[str]) -> int:
    """Do one job; returns the status of the process, and prints what was written or why nothing was."""
    try:
        for path in reconstruct_scan(ReconstructionJob.loads(words[0])):
            sys.stdout.write(f"{path}\n")
    except DanmaxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    os.nice(NICENESS)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sys.exit(main(sys.argv[1:]))
