"""Integrate frames that were measured at several positions of a detector into one pattern."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import SettingsError, StorageError
from danmax_bluesky.pipelines.blocks import Block, batches, integrate_blocks, together
from danmax_bluesky.pipelines.integration_provenance import note_integration
from danmax_bluesky.pipelines.opened_positions import (
    OpenedPosition,
    Position,
    info_of_positions,
    integrators_of_position,
    on_one_axis,
    open_position,
    prepared_jointly,
    relative_exposures,
)
from danmax_bluesky.pipelines.output import IfExists, RecipeOutput, frame_warnings
from danmax_bluesky.pipelines.recipes import PreparedRecipe, recipe_settings
from danmax_bluesky.pipelines.scan_frames import files_of_scan
from danmax_bluesky.pipelines.scan_integration import IntegrationReport, Progress
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.scattering.integrator import Integrator, Patterns
from danmax_bluesky.scattering.positions import JoinedSums, check_positions, exposed_norm
from danmax_bluesky.storage.frames_protocol import FrameError

MONITOR = "monitor"
"""What the monitor is called where its counts are given and not looked up."""
JOINED = "joined"
"""Stands in the name of the file of patterns."""
_NAMED = 3
"""So many frames are named in a sentence about them."""


def integrate_positions(
    positions: Sequence[Position],
    settings: RecipeSettings | Mapping[str, Any],
    output: Path | None = None,
    *,
    dataset: str | None = None,
    threads: int = 2,
    if_exists: IfExists = "refuse",
    progress: Progress | None = None,
) -> IntegrationReport:
    """Integrate frames from several positions of a detector, or from several detectors, into one pattern.

    The pattern is what pyFAI's MultiGeometry gives, on the scale of the first position: signal and norm of every frame
    of every position are added, bin by bin, with the solid angle and the monitor of each. Every other key of the recipe
    holds for each position; its mask, dark, flat and background may depend on the file, as `{folder}/{stem}_mask.npy`.
    Frames of our own scans get a row in the provenance of their scan.

    Args:
        positions: two or more.
        settings: the recipe; its poni is left aside. A monitor that it names divides the frames of each position.
        output: file of patterns, which gets one row; None names it after the frames of the first position.
        dataset: HDF5 path of the frames; None looks for them.
        threads: blocks of frames at a time.
        if_exists: what to do with a file that was joined from the same frames before; "resume" begins anew.
        progress: called with the frames done and the frames in all.

    Returns:
        A report whose `frames` is the number of frames that were joined.

    Raises:
        SettingsError: fewer than two positions, or some have counts of a monitor and others have none.
        CalibrationError: the recipe does not fit a position, or the positions differ in their energy.
        StorageError: frames cannot be read or the pattern not written.
        AcquisitionError: a position has no frame to integrate.
    """
    begun_s, begun = time.time(), time.monotonic()
    recipe = _checked(positions, recipe_settings(settings))
    target = output or joined_path(positions, recipe.name)
    if if_exists == "refuse" and target.exists():
        raise StorageError(f"{target} exists already; join the positions again with --again, or name another folder")
    with ExitStack() as stack:
        opened = [open_position(position, recipe, dataset, stack) for position in positions]
        check_positions({one.name: one.prepared.geometry for one in opened}, recipe.unit)
        opened = on_one_axis(opened)
        integrators = [integrators_of_position(one) for one in opened]
        scales = relative_exposures(opened)
        prepared = prepared_jointly(opened, recipe, scales)
        joined = _joined_integrators(integrators, prepared, scales)
        inputs = tuple(name for one in opened for name in one.frames.inputs)
        exists: IfExists = "refuse" if if_exists == "refuse" else "replace"
        sink = RecipeOutput(prepared, joined, target, info_of_positions(opened), inputs, exists)
        with sink:
            warnings = _warnings(opened, integrators)
            sums = {
                name: JoinedSums(integrator.recipe.shape, recipe.weighting, with_errors=recipe.error_model != "none")
                for name, integrator in joined.items()
            }
            problems: list[str] = []
            done, total = 0, sum(len(one.numbers) for one in opened)
            for one, of_position, scale in zip(opened, integrators, scales, strict=True):
                left_out: dict[int, str] = {}
                for block in together(integrate_blocks(one.frames, of_position, batches(one.numbers), threads)):
                    left_out |= _add(sums, block, scale[np.searchsorted(one.numbers, block.index)], one)
                    done += len(block.index)
                    if progress:
                        progress(done, total)
                problems += [*one.frames.missing, *_about(one, left_out)]
            sink.write(Block(np.zeros(1, np.int64), {sink.key(name): added.pattern() for name, added in sums.items()}))
            columns = {recipe.monitor: np.array([recipe.monitor_reference])} if recipe.monitor else {}
            problems = sink.finish(columns, complete=all(one.complete for one in opened), problems=problems)
    _note(opened, recipe, target, begun_s, problems)
    notes = [note for one in opened for note in one.prepared.notes]
    return IntegrationReport(target, done, 0, time.monotonic() - begun, {}, problems, warnings, notes)


def _checked(positions: Sequence[Position], settings: RecipeSettings) -> RecipeSettings:
    """The recipe, with a name for the monitor if counts are given."""
    if len(positions) < 2:
        raise SettingsError(f"{len(positions)} position cannot be joined; name two or more, each with its .poni")
    if settings.slices:
        raise SettingsError("slices are bands of one detector and cannot be joined; leave them out of the recipe")
    given = [position.monitor is not None for position in positions]
    if any(given) and not all(given):
        missing = positions[given.index(False)].files[0]
        raise SettingsError(f"no counts of the monitor are given for {missing}; give them for every position, or none")
    wrong = [
        position for position in positions if position.monitor is not None and not 0 < position.monitor < float("inf")
    ]
    if wrong:
        raise SettingsError(
            f"the monitor of {wrong[0].files[0]} counted {wrong[0].monitor}; it must be a number above 0"
        )
    return settings.model_copy(update={"monitor": settings.monitor or MONITOR}) if any(given) else settings


def _joined_integrators(
    integrators: Sequence[Mapping[str, Integrator]], prepared: PreparedRecipe, scales: Sequence[np.ndarray]
) -> dict[str, Integrator]:
    """What the file of patterns describes: the axes of all, and the norm that all frames have together."""
    joined: dict[str, Integrator] = {}
    for name, recipe in prepared.recipes.items():
        norm = np.sum(
            [
                exposed_norm(each[name].matrix.norm, scale[np.isfinite(scale)], recipe.weighting)
                for each, scale in zip(integrators, scales, strict=True)
            ],
            axis=0,
        )
        joined[name] = Integrator(recipe, replace(integrators[0][name].matrix, norm=norm))
    return joined


def _add(sums: Mapping[str, JoinedSums], block: Block, exposures: np.ndarray, one: OpenedPosition) -> dict[int, str]:
    """Add a block of one position to the sums.

    Returns:
        Number of each frame that could not count, and why.
    """
    counted = np.isfinite(exposures)
    unread = np.isin(block.index, list(block.errors))
    for name, joined in sums.items():
        patterns = block.patterns[name]
        masked = np.where(unread, np.prod(one.frames.shape), patterns.masked)
        some = (patterns.intensity[counted], patterns.sigma[counted], patterns.norm[counted], masked[counted])
        joined.add(Patterns(*some), exposures[counted])
    without = {int(number): "its monitor is no number above 0" for number in block.index[~counted]}
    return {**without, **block.errors}


def _about(one: OpenedPosition, left_out: Mapping[int, str]) -> list[str]:
    """A sentence about the frames of a position that could not count, with the first of them; none if all could."""
    if not left_out:
        return []
    named = [f"frame {number}: {why}" for number, why in list(left_out.items())[:_NAMED]]
    more = [f"and {len(left_out) - _NAMED} more"] if len(left_out) > _NAMED else []
    text = "; ".join([*named, *more])
    return [f"{len(left_out)} of {len(one.numbers)} frames of {one.frames.name} were left out of the pattern: {text}"]


def _note(
    opened: Sequence[OpenedPosition], recipe: RecipeSettings, target: Path, begun_s: float, problems: Sequence[str]
) -> None:
    """A row in the provenance of each scan that frames are of; it names every position."""
    named = [
        {"poni": str(one.position.poni.absolute()), "frames": [str(file) for file in one.position.files]}
        for one in opened
    ]
    for one in opened:
        source = one.position.files[0]
        files = files_of_scan(source)
        if files is not None:
            stated = {**recipe.model_dump(mode="json"), "positions": named}
            note_integration(
                *(files, stated, source, target), begun_s=begun_s, problems=problems, failed=bool(problems)
            )


def _warnings(opened: Sequence[OpenedPosition], integrators: Sequence[Mapping[str, Integrator]]) -> list[str]:
    """What speaks against the calibration or the mask of a position, seen in its first frame."""
    warnings: list[str] = []
    for one, of_position in zip(opened, integrators, strict=True):
        image = np.empty(one.frames.shape, one.frames.dtype)
        try:
            one.frames.read_into(one.numbers[0], image)
        except FrameError:
            continue
        _, texts = frame_warnings(next(iter(of_position.values())), image)
        warnings += [f"{one.name}: {text}" for text in texts]
    return warnings


def joined_path(positions: Sequence[Position], recipe: str, folder: Path | None = None) -> Path:
    """Where a joined pattern goes: named after the frames of the first position.

    Args:
        positions: as they are joined.
        recipe: name of the recipe.
        folder: to write to; None takes the one where patterns of the first position go.
    """
    return output_path(positions[0].files[0], JOINED if recipe == "azint" else f"{recipe}_{JOINED}", folder)
