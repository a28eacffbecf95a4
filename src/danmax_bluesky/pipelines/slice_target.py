"""Slices of frames written as a file, with a picture: the end of every reconstruction."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.formats.tomoproc import SlicesLayout
from danmax_bluesky.pipelines.pictures import save_image, save_pictures
from danmax_bluesky.pipelines.reconstruction import Grouping, Report, Slices, reconstruct_frames
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames, naming_file
from danmax_bluesky.storage.partial_slices import PartialSlices
from danmax_bluesky.storage.slice_export import check_export, export_slices
from danmax_bluesky.storage.slice_writer import write_slices
from danmax_bluesky.tomography.axis import Axis
from danmax_bluesky.tomography.fast_fourier import library
from danmax_bluesky.tomography.field import NOT_RIGHT
from danmax_bluesky.tomography.interleaved import MOST_LANES
from danmax_bluesky.tomography.methods import method_of
from danmax_bluesky.tomography.ramp import softened
from danmax_bluesky.tomography.tori import ReconstructionSettings

Floats = npt.NDArray[np.float32]
FEWEST_ROWS = 8
"""Slices from which on a picture shows the volume from the front and the side too."""


@dataclass(frozen=True)
class SlicesTarget:
    """Where slices go, and what is known of what they are made of.

    Attributes:
        output: the file.
        title: of the measurement.
        sample: its name.
        detector: that took the projections.
        raw_file: with the projections.
        run_uid: of the run, or of the file.
        pixel_m: at the sample, metres; None if it is not known.
        parameters: of the reconstruction, as JSON holds them.
        remarks: what is known of the frames already, one sentence each.
    """

    output: Path
    title: str
    sample: str
    detector: str
    raw_file: Path
    run_uid: str
    pixel_m: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    remarks: tuple[str, ...] = ()


def write_reconstruction(
    frames: TomographyFrames,
    settings: ReconstructionSettings,
    target: SlicesTarget,
    *,
    centre_px: float | None = None,
    report: Report | None = None,
) -> tuple[list[Path], list[str]]:
    """Write the slices, of one volume or of a series; the files, and what is to be told of them.

    Args:
        frames: of the tomography.
        settings: of the chain, with the rows.
        target: where the slices go.
        centre_px: detector column of the rotation axis; None finds it, for a series in its first volume.
        report: as of `reconstruct_frames`.

    Raises:
        ScanError: they cannot be reconstructed so; the message begins with the file.
        StorageError: frames cannot be read, or the slices not be written.
    """
    target.output.parent.mkdir(parents=True, exist_ok=True)
    with naming_file(target.raw_file):
        if settings.volume_deg is None:
            files, remarks, _ = _write_volume(frames, settings, target, centre_px, report)
            return files, remarks
        all_files: list[Path] = []
        all_remarks: list[str] = []
        step_deg = settings.volume_step_deg or settings.volume_deg
        for number, part in enumerate(frames.windows(settings.volume_deg, step_deg)):
            output = target.output.with_stem(f"{target.output.stem}_{number:04d}")
            files, remarks, axis = _write_volume(part, settings, replace(target, output=output), centre_px, report)
            centre_px = axis.centre_px
            all_files += files
            all_remarks += [text for text in remarks if text not in all_remarks]
        return all_files, all_remarks


def _write_volume(
    frames: TomographyFrames,
    settings: ReconstructionSettings,
    target: SlicesTarget,
    centre_px: float | None,
    report: Report | None,
) -> tuple[list[Path], list[str], Axis]:
    rows = settings.rows_of(frames.height)
    if not rows:
        raise ScanError(f"rows = {settings.rows}: frames of {target.detector} have {frames.height} rows")
    if settings.export != "none":
        check_export(target.output, settings.export)
    partial = None
    if len(rows) > MOST_LANES:  # fewer are made at once, and nothing is there before all are
        partial = PartialSlices.beside(target.output, _made_of(frames, settings, target, centre_px))
    try:
        return _write(frames, settings, target, rows, centre_px, report, partial)
    finally:
        if partial is not None:
            partial.close()


def _write(
    frames: TomographyFrames,
    settings: ReconstructionSettings,
    target: SlicesTarget,
    rows: Sequence[int],
    centre_px: float | None,
    report: Report | None,
    partial: PartialSlices | None,
) -> tuple[list[Path], list[str], Axis]:
    sizes = None if partial is None else partial.sizes
    slices = reconstruct_frames(
        frames,
        settings,
        rows,
        centre_px=centre_px,
        pixel_m=target.pixel_m,
        folder=target.output.parent,
        report=report,
        done=0 if partial is None else partial.done,
        grouping=None if sizes is None else Grouping(*sizes[:2]),
    )
    remarks = [*slices.remarks, *target.remarks]
    views = _Views(len(slices.rows), slices.width)
    try:
        blocks = _scaled(slices, target.pixel_m)
        if partial is not None:
            if partial.done:
                remarks.append(f"{partial.done} of {len(slices.rows)} slices were there, of a run that was interrupted")
            partial.begin(slices.grouping.lanes, slices.grouping.at_once, slices.width)
            for block in blocks:
                partial.append(block)
            blocks = partial.blocks()
        write_slices(target.output, _layout(target, slices, settings, remarks), views.passing(blocks))
    finally:
        slices.close()
    if partial is not None:
        partial.remove()
    files = [target.output]
    if settings.picture:
        files.append(_picture(target, settings, slices, views))
    if settings.export != "none":
        limits = settings.export_range or views.range()
        about = {"run_uid": target.run_uid, "slices": target.output.name, "histogram": views.histogram()}
        files.append(export_slices(target.output, settings.export, settings.export_bits, limits, about))
    return files, remarks, slices.axis


def _made_of(
    frames: TomographyFrames, settings: ReconstructionSettings, target: SlicesTarget, centre_px: float | None
) -> str:
    """Tells whether slices would be the same, bit by bit."""
    chain = settings.model_dump(
        mode="json", exclude={"picture", "picture_window", "export", "export_bits", "export_range"}
    )
    about = target.raw_file.stat()
    facts = [chain, centre_px, target.pixel_m, target.run_uid, str(target.raw_file), about.st_size, about.st_mtime_ns]
    facts += [list(frames.source.shape), str(frames.source.dtype), library(), version("danmax-bluesky")]
    text = json.dumps(facts).encode()
    for values in (frames.projections, frames.flats, frames.darks, frames.theta_deg, frames.light.projections):
        text += np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(text).hexdigest()


class _Views:
    """Three orthogonal slices of a volume, looked at while its slices pass."""

    def __init__(self, count: int, width: int) -> None:
        self._middle, self._width = count // 2, width
        self.level = np.empty((width, width), np.float32)
        self.front, self.side = (np.empty((count, width), np.float32) for _ in range(2))

    def passing(self, blocks: Iterable[Floats]) -> Iterator[Floats]:
        """The blocks, once they were looked at."""
        done = 0
        for block in blocks:
            self.front[done : done + len(block)] = block[:, self._width // 2]
            self.side[done : done + len(block)] = block[:, :, self._width // 2]
            if done <= self._middle < done + len(block):
                self.level[:] = block[self._middle - done]
            done += len(block)
            yield block

    def _values(self) -> Floats:
        return np.concatenate([view.ravel() for view in (self.level, self.front, self.side)])

    def range(self) -> tuple[float, float]:
        """Black and white that leave out the outermost thousandth on either side."""
        low, high = np.percentile(self._values(), [0.1, 99.9])
        return float(low), float(max(high, np.nextafter(low, np.inf)))

    def histogram(self) -> dict[str, list[float]]:
        """How often values occur in the three slices, and the bounds of the bins."""
        counts, edges = np.histogram(self._values(), 256)
        return {"counts": counts.tolist(), "edges": edges.tolist()}


def _picture(target: SlicesTarget, settings: ReconstructionSettings, slices: Slices, views: _Views) -> Path:
    label = "attenuation / 1/m" if target.pixel_m else "attenuation a pixel"
    row = slices.rows[len(slices.rows) // 2]
    axis = f"axis at column {slices.axis.centre_px:.2f}"
    axis += f" ± {slices.axis.sigma_px:.2f}" if slices.axis.sigma_px else ""
    wrong = f"\n{NOT_RIGHT}" if slices.too_wide else ""
    path = target.output.with_suffix(".png")
    level = softened(views.level, settings.picture_window, settings.window)
    if len(slices.rows) < FEWEST_ROWS:
        return save_image(path, level, f"{target.sample}: slice of row {row}, {axis}{wrong}", label=label)
    names = (f"row {row}", "through the middle, seen from the front", "seen from the side")
    return save_pictures(path, (level, views.front, views.side), names, f"{target.sample}: {axis}{wrong}", label)


def _scaled(slices: Slices, pixel_m: float | None) -> Iterator[Floats]:
    """The blocks in their unit."""
    for _, images in slices.blocks():
        if pixel_m is not None:
            images *= np.float32(1.0 / (pixel_m * slices.bin_px))
        yield images


def _layout(
    target: SlicesTarget, slices: Slices, settings: ReconstructionSettings, remarks: Sequence[str]
) -> SlicesLayout:
    return SlicesLayout(
        run_uid=target.run_uid,
        title=target.title,
        sample=target.sample,
        detector=target.detector,
        rows=slices.rows,
        width=slices.width,
        pixel_m=target.pixel_m,
        centre_px=slices.axis.centre_px,
        centre_sigma_px=slices.axis.sigma_px,
        algorithm=f"{settings.method}: {method_of(settings.method).cite}",
        bin_px=slices.bin_px,
        raw_file=os.path.relpath(target.raw_file, target.output.parent),
        parameters=target.parameters,
        remarks=tuple(remarks),
    )
