"""Positions of a detector made ready to be joined: frames open, recipes bound to them, one axis for all."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import AcquisitionError, CalibrationError
from danmax_bluesky.formats.tree import Dataset
from danmax_bluesky.pipelines.integrator_cache import integrators_of
from danmax_bluesky.pipelines.recipes import PreparedRecipe, prepare
from danmax_bluesky.pipelines.scan_integration import what_is_known
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.matrix import effective_mask
from danmax_bluesky.scattering.positions import on_common_axis, pixel_solid_angle, radial_reach
from danmax_bluesky.storage.frames import open_frames
from danmax_bluesky.storage.frames_protocol import Frames


@dataclass(frozen=True)
class Position:
    """What was measured at one position of a detector.

    Attributes:
        poni: the pyFAI geometry of this position.
        frames: an image, a file of frames, or several files that hold them; all of them count.
        monitor: counts of the beam monitor for each of these frames; None takes them from the scan, if the recipe
            names a monitor.
    """

    poni: Path
    frames: Path | Sequence[Path]
    monitor: float | None = None

    @property
    def files(self) -> list[Path]:
        """The files of frames."""
        return [self.frames] if isinstance(self.frames, Path) else list(self.frames)


@dataclass(frozen=True, eq=False)
class OpenedPosition:
    """A position with its frames open and its recipe bound to them.

    Attributes:
        position: as it was given.
        frames: the source.
        numbers: of the frames to integrate.
        exposures: monitor of each frame, relative to its reference, shape (n,); NaN where it is no number above 0.
        prepared: the recipe, bound to these frames.
        info: what is known of the scan.
        complete: every frame that was planned was measured.
    """

    position: Position
    frames: Frames
    numbers: Sequence[int]
    exposures: np.ndarray
    prepared: PreparedRecipe
    info: ScanInfo
    complete: bool

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.frames.name} with {self.position.poni}"


def open_position(position: Position, recipe: RecipeSettings, dataset: str | None, stack: ExitStack) -> OpenedPosition:
    """Open the frames of a position and bind the recipe to them.

    Args:
        position: as it was given.
        recipe: of all positions; its poni is left aside.
        dataset: HDF5 path of the frames; None looks for them.
        stack: closes the frames.

    Raises:
        CalibrationError: the recipe does not fit the frames, or their monitor is not known.
        StorageError: the frames cannot be read.
        AcquisitionError: there is none.
    """
    files = position.files
    info, rows, columns, complete = what_is_known(files[0], None, None)
    frames = open_frames(files[0] if len(files) == 1 else files, dataset)
    stack.callback(frames.close)
    numbers = [number for first, last in rows or [(0, len(frames))] for number in range(first, last)]
    if not numbers:
        raise AcquisitionError(f"{frames.name} holds no frame to integrate")
    exposures = _monitor(position, recipe, columns or {}, len(numbers), frames.name)
    with _naming(position):
        settings = recipe.model_copy(update={"poni": position.poni.absolute()})
        prepared = prepare(settings, frames, files[0], info)
    return OpenedPosition(position, frames, numbers, exposures, prepared, info, complete)


def _monitor(
    position: Position, recipe: RecipeSettings, columns: Mapping[str, np.ndarray], number: int, name: str
) -> np.ndarray:
    """Counts of the monitor for each frame, relative to the reference of the recipe; ones without a monitor."""
    if not recipe.monitor:
        return np.ones(number)
    counts = columns.get(recipe.monitor) if position.monitor is None else np.full(number, position.monitor)
    if counts is None or len(counts) < number:
        raise CalibrationError(
            f"{name}: monitor {recipe.monitor!r} is not known of its frames, so that they cannot be weighed against "
            "those of the other positions; give its counts for each position (--monitor-counts)"
        )
    relative = np.asarray(counts[:number], float) / recipe.monitor_reference
    return np.where((relative > 0) & np.isfinite(relative), relative, np.nan)


def on_one_axis(opened: Sequence[OpenedPosition]) -> list[OpenedPosition]:
    """The same positions with one radial axis, and one range of azimuth.

    Raises:
        CalibrationError: a position has no pixel that counts.
    """
    limits = None
    first = next(iter(opened[0].prepared.recipes.values()))
    if first.radial_range is None and not first.radial_edges:
        reached = []
        for one in opened:
            with _naming(one.position):
                reached.append(radial_reach(next(iter(one.prepared.recipes.values()))))
        limits = (min(low for low, _ in reached), max(high for _, high in reached))
    return [
        replace(
            one,
            prepared=replace(
                one.prepared,
                recipes={name: on_common_axis(recipe, limits) for name, recipe in one.prepared.recipes.items()},
            ),
        )
        for one in opened
    ]


def integrators_of_position(one: OpenedPosition) -> dict[str, Integrator]:
    """An integrator for each layout of one position.

    Raises:
        CalibrationError: no pixel of it lies in any bin.
    """
    with _naming(one.position):
        return integrators_of(one.prepared.recipes)


def relative_exposures(opened: Sequence[OpenedPosition]) -> list[np.ndarray]:
    """How much each frame of each position counts, relative to one of the first position with the reference monitor."""
    solid_angles = [pixel_solid_angle(one.prepared.geometry) for one in opened]
    corrected = next(iter(opened[0].prepared.recipes.values())).solid_angle
    return [
        one.exposures * (solid_angle / solid_angles[0] if corrected else 1.0)
        for one, solid_angle in zip(opened, solid_angles, strict=True)
    ]


def prepared_jointly(
    opened: Sequence[OpenedPosition], recipe: RecipeSettings, scales: Sequence[np.ndarray]
) -> PreparedRecipe:
    """The recipe of the first position, with what all of them were made from among its texts."""
    first = opened[0].prepared
    texts: dict[str, Any] = dict(first.texts)
    table = []
    for number, (one, scale) in enumerate(zip(opened, scales, strict=True), 1):
        bound = next(iter(one.prepared.recipes.values()))
        stated = {key: str(value) for key, value in one.prepared.texts.items() if key != "poni"}
        counted = scale[np.isfinite(scale)]
        table.append(
            {
                "frames": list(one.frames.inputs),
                "number_of_frames": len(one.numbers),
                "exposure_of_frames": float(counted.sum()),
                "pixel_solid_angle_sr": pixel_solid_angle(bound.geometry),
                "orientation": bound.geometry.orientation,
                **stated,
            }
        )
        texts[f"position_{number}_poni"] = Dataset(
            one.prepared.texts["poni"], {"filename": str(one.position.poni.absolute())}
        )
        texts[f"position_{number}_mask"] = Dataset(
            effective_mask(bound).astype(np.uint8), chunks=bound.geometry.shape, compression="gzip"
        )
    texts["positions"] = json.dumps(table)
    return PreparedRecipe(recipe, first.recipes, texts, first.notes)


def info_of_positions(opened: Sequence[OpenedPosition]) -> ScanInfo:
    """What the scans have in common; the file belongs to all of them."""
    first = opened[0].info
    common = {key: value for key, value in first.scan.items() if all(one.info.scan.get(key) == value for one in opened)}
    uids = " + ".join(dict.fromkeys(one.info.run_uid for one in opened))
    return replace(first, title=f"{len(opened)} positions joined", run_uid=uids, scan=common, columns={})


@contextmanager
def _naming(position: Position) -> Iterator[None]:
    """What does not fit is said with the position that it does not fit."""
    try:
        yield
    except CalibrationError as error:
        text = str(error)
        if str(position.poni) in text:
            raise
        raise CalibrationError(f"{position.files[0]} with {position.poni}: {text}") from error
