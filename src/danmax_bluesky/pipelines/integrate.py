"""Integrate a scan: from a detector file to a file of patterns."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.formats.nxazint import (
    AzintHeader,
    Column,
    PatternLayout,
    data_path,
    frames_path,
    nxazint_tree,
)
from danmax_bluesky.formats.tree import Dataset
from danmax_bluesky.pipelines.blocks import Block, batches, integrate_blocks
from danmax_bluesky.pipelines.recipes import PreparedRecipe, output_path, prepare, recipe_settings
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.matrix import effective_mask
from danmax_bluesky.storage.frames import Frames, open_frames
from danmax_bluesky.storage.patterns import PatternFile

PROGRAM = "danmax_bluesky"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ScanInfo:
    """What is known of a scan beside its frames.

    Attributes:
        title: the command as typed.
        run_uid: of the run; a file of another run is never replaced.
        instrument: name of the beamline.
        source_name: name of the laboratory.
        energy_kev: photon energy, for recipes without a .poni.
        detector: settings of the detector, likewise.
        scan: further scalars for the entry.
        columns: name -> values for each frame of the source, with units.
    """

    title: str = "azimuthal integration"
    run_uid: str = ""
    instrument: str = "DanMAX"
    source_name: str = "MAX IV"
    energy_kev: float | None = None
    detector: Mapping[str, Any] | None = None
    scan: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, tuple[np.ndarray, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class IntegrationReport:
    """What an integration did.

    Attributes:
        output: the file of patterns.
        frames: number of frames integrated.
        seconds: how long it took, the matrix included.
        errors: frame number -> why it could not be read.
    """

    output: Path
    frames: int
    seconds: float
    errors: Mapping[int, str]


def integrate_scan(
    source: Path | Sequence[Path],
    settings: RecipeSettings | Mapping[str, Any],
    output: Path | None = None,
    *,
    dataset: str | None = None,
    rows: Sequence[tuple[int, int]] | None = None,
    info: ScanInfo | None = None,
    threads: int = 2,
    replace_own: bool = False,
    progress: Progress | None = None,
) -> IntegrationReport:
    """Integrate the frames of a finished scan by one recipe.

    Args:
        source: the detector file, or several files that hold its frames.
        settings: the recipe.
        output: file of patterns; None puts it where `output_path` says.
        dataset: HDF5 path of the frames; None looks for them.
        rows: first and one past the last frame of each stretch to integrate; None takes all.
        info: what else is known of the scan.
        threads: blocks of frames at a time.
        replace_own: replace a file that the same run wrote before.
        progress: called with the frames done and the frames in all.

    Raises:
        StorageError: the frames cannot be read or the patterns not written.
        CalibrationError: the recipe does not fit the frames.
        AcquisitionError: there is no frame to integrate.
    """
    begun = time.monotonic()
    info = info or ScanInfo()
    first = source if isinstance(source, Path) else source[0]
    frames = open_frames(source, dataset)
    try:
        wanted = [range(a, b) for a, b in rows] if rows is not None else [range(len(frames))]
        count = sum(len(stretch) for stretch in wanted)
        if not count:
            raise AcquisitionError(f"{frames.name} holds no frame to integrate")
        prepared = prepare_for(frames, settings, info)
        integrators = {name: Integrator(recipe) for name, recipe in prepared.recipes.items()}
        target = output or output_path(first, prepared.settings.name)
        tree = tree_for(prepared, integrators, info, [frames.name])
        writer = BlockWriter(list(integrators), info.columns)
        errors: dict[int, str] = {}
        done = 0
        with PatternFile.create(target, tree, replace_own=replace_own) as file:
            numbers = (index for stretch in wanted for index in stretch)
            for block in integrate_blocks(frames, integrators, batches(numbers), threads):
                writer.write(file, block)
                errors.update(block.errors)
                done += len(block.index)
                if progress:
                    progress(done, count)
    finally:
        frames.close()
    return IntegrationReport(target, done, time.monotonic() - begun, errors)


def prepare_for(frames: Frames, settings: RecipeSettings | Mapping[str, Any], info: ScanInfo) -> PreparedRecipe:
    """The recipe bound to these frames, with the detector's own mask."""
    own_mask = frames.pixel_mask() if hasattr(frames, "pixel_mask") else None  # type: ignore[attr-defined]
    return prepare(recipe_settings(settings), frames.shape, own_mask, info.detector, info.energy_kev)


def tree_for(
    prepared: PreparedRecipe, integrators: Mapping[str, Integrator], info: ScanInfo, inputs: Iterable[str]
) -> Any:
    """The file of patterns, without rows yet."""
    geometry = prepared.geometry
    layouts = {name: _layout(prepared, integrator) for name, integrator in integrators.items()}
    columns = {"index": Column("<i8"), "valid": Column("|u1"), "masked_pixels": Column("<i8")}
    columns |= {
        name: Column(values.dtype.str, units, values.shape[1:]) for name, (values, units) in info.columns.items()
    }
    header = AzintHeader(
        title=info.title,
        run_uid=info.run_uid,
        instrument=info.instrument,
        source_name=info.source_name,
        wavelength_angstrom=geometry.wavelength_angstrom,
        energy_kev=geometry.energy_kev,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        program=PROGRAM,
        version=f"{version('danmax_bluesky')} (pyFAI {version('pyFAI')}, numba {version('numba')})",
        inputs=list(inputs),
        monitor=prepared.settings.monitor,
        scan=info.scan,
    )
    return nxazint_tree(header, layouts, columns)


def _layout(prepared: PreparedRecipe, integrator: Integrator) -> PatternLayout:
    recipe, matrix, texts = integrator.recipe, integrator.matrix, prepared.texts
    poni = Dataset(texts["poni"], {"filename": texts["poni_file"]} if "poni_file" in texts else {})
    mask = Dataset(
        effective_mask(recipe).astype(np.uint8),
        {"filename": texts["mask_file"]} if "mask_file" in texts else {},
        chunks=recipe.geometry.shape,
        compression="gzip",
    )
    files = {key: value for key, value in texts.items() if key in ("dark_file", "flat_file")}
    return PatternLayout(
        unit=recipe.unit,
        radial_edges=matrix.radial_edges,
        norm=matrix.norm.reshape(recipe.shape),
        azimuth_edges_deg=matrix.azimuth_edges_deg,
        parameters={"recipe": prepared.settings.name, "poni": poni, "mask": mask, **files, **recipe.parameters()},
        has_errors=recipe.error_model != "none",
    )


class BlockWriter:
    """Puts blocks into a file of patterns.

    Args:
        layouts: names, in the order of the file.
        columns: name -> values for each frame of the source, with units.
    """

    def __init__(self, layouts: Sequence[str], columns: Mapping[str, tuple[np.ndarray, str]] | None = None) -> None:
        self._layouts = list(layouts)
        self._columns = columns or {}

    def write(self, file: PatternFile, block: Block) -> None:
        """Append one block."""
        rows: dict[str, np.ndarray] = {}
        for name in self._layouts:
            patterns = block.patterns[name]
            data = data_path(self._layouts, name)
            rows[f"{data}/I"] = patterns.intensity.astype(np.float32)
            if f"{data}/I_errors" in file:
                rows[f"{data}/I_errors"] = patterns.sigma.astype(np.float32)
        masked = block.patterns[self._layouts[0]].masked
        rows[frames_path("valid")] = np.array([int(i) not in block.errors for i in block.index], np.uint8)
        rows[frames_path("masked_pixels")] = masked
        for name, (values, _) in self._columns.items():
            rows[frames_path(name)] = values[block.index]
        file.append(block.index, rows)
