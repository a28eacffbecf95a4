"""Slices of frames written as a file, with a picture: the end of every reconstruction."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.formats.tomoproc import SlicesLayout
from danmax_bluesky.pipelines.pictures import save_image
from danmax_bluesky.pipelines.reconstruction import Report, Slices, reconstruct_frames
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.storage.slice_writer import write_slices
from danmax_bluesky.tomography.field import NOT_RIGHT
from danmax_bluesky.tomography.tori import ReconstructionSettings


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
    """Write the slices; the files, and what is to be told of them.

    Args:
        frames: of the tomography.
        settings: of the chain, with the rows.
        target: where the slices go.
        centre_px: detector column of the rotation axis; None finds it.
        report: as of `reconstruct_frames`.

    Raises:
        ScanError: they cannot be reconstructed so.
        StorageError: frames cannot be read, or the slices not be written.
    """
    rows = settings.rows_of(frames.height)
    if not rows:
        raise ScanError(f"rows = {settings.rows}: frames of {target.detector} have {frames.height} rows")
    target.output.parent.mkdir(parents=True, exist_ok=True)
    slices = reconstruct_frames(
        frames,
        settings,
        rows,
        centre_px=centre_px,
        pixel_m=target.pixel_m,
        folder=target.output.parent,
        report=report,
    )
    try:
        remarks = [*slices.remarks, *target.remarks]
        picture: list[npt.NDArray[np.float32]] = []
        write_slices(
            target.output,
            _layout(target, slices, rows, remarks),
            _scaled(slices, rows[len(rows) // 2], target.pixel_m, picture),
        )
    finally:
        slices.close()
    if not settings.picture:
        return [target.output], remarks
    label = "attenuation / 1/m" if target.pixel_m else "attenuation a pixel"
    title = f"{target.sample}: slice of row {rows[len(rows) // 2]}, axis at column {slices.axis.centre_px:.2f}"
    title += f" ± {slices.axis.sigma_px:.2f}" if slices.axis.sigma_px else ""
    title += f"\n{NOT_RIGHT}" if slices.too_wide else ""
    return [
        target.output,
        save_image(target.output.with_suffix(".png"), picture[0], title, label=label),
    ], remarks


def _scaled(
    slices: Slices, middle: int, pixel_m: float | None, picture: list[npt.NDArray[np.float32]]
) -> Iterator[npt.NDArray[np.float32]]:
    """The blocks in their unit; the slice for the picture is put aside."""
    for rows, images in slices.blocks():
        if pixel_m is not None:
            images *= np.float32(1.0 / pixel_m)
        if middle in rows:
            picture.append(images[list(rows).index(middle)].copy())
        yield images


def _layout(target: SlicesTarget, slices: Slices, rows: range, remarks: list[str]) -> SlicesLayout:
    return SlicesLayout(
        run_uid=target.run_uid,
        title=target.title,
        sample=target.sample,
        detector=target.detector,
        rows=rows,
        width=slices.width,
        pixel_m=target.pixel_m,
        centre_px=slices.axis.centre_px,
        raw_file=os.path.relpath(target.raw_file, target.output.parent),
        parameters=target.parameters,
        remarks=tuple(remarks),
    )
