"""What a file of patterns says of its recipe, its geometry and its scan, before the first pattern is in it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from danmax_bluesky.formats.nxazint import AzintHeader, Column, PatternLayout, nxazint_tree
from danmax_bluesky.formats.tree import Dataset, Group
from danmax_bluesky.pipelines.recipes import PreparedRecipe
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.matrix import effective_mask

PROGRAM = "danmax_bluesky"
SAMPLE = "sample_name"
_OWN_COLUMNS = {"index": Column("<i8"), "valid": Column("|u1"), "masked_pixels": Column("<i8")}


def header_tree(
    prepared: PreparedRecipe, integrators: Mapping[str, Integrator], info: ScanInfo, inputs: Sequence[str]
) -> Group:
    """The file of patterns, without rows yet.

    Args:
        prepared: the recipe, bound to the frames.
        integrators: layout -> integrator.
        info: what is known of the scan.
        inputs: the files that are integrated.
    """
    geometry = prepared.geometry
    layouts = {name: _layout(prepared, integrator) for name, integrator in integrators.items()}
    header = AzintHeader(
        title=info.title,
        run_uid=info.run_uid,
        recipe_key=recipe_key(prepared),
        recipe_settings=prepared.settings.model_dump_json(),
        instrument=info.instrument,
        source_name=info.source_name,
        wavelength_angstrom=geometry.wavelength_angstrom,
        energy_kev=geometry.energy_kev,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        program=PROGRAM,
        version=f"{version('danmax_bluesky')} (pyFAI {version('pyFAI')}, numba {version('numba')})",
        inputs=list(inputs),
        integral_range=prepared.settings.integral_range,
        monitor=prepared.settings.monitor,
        monitor_reference=prepared.settings.monitor_reference,
        sample=str(info.scan.get(SAMPLE, "")),
        scan={key: value for key, value in info.scan.items() if key != SAMPLE},
    )
    return nxazint_tree(header, layouts, {**_OWN_COLUMNS, **info.columns})


def recipe_key(prepared: PreparedRecipe) -> str:
    """Hash of everything that a pattern depends on beside the frames; equal keys mean equal patterns."""
    digest = hashlib.sha256()
    for name, recipe in prepared.recipes.items():
        parameters = json.dumps(recipe.parameters(), sort_keys=True, default=str)
        digest.update(f"{name} {recipe.matrix_key()} {parameters}".encode())
        pattern = recipe.background
        subtracted = () if pattern is None else (pattern.axis, pattern.intensity, pattern.sigma)
        for image in (recipe.dark, recipe.dark_variance, *subtracted):
            if image is not None:
                digest.update(np.ascontiguousarray(image).tobytes())
    settings = prepared.settings
    digest.update(f"{settings.monitor} {settings.monitor_reference}".encode())
    return digest.hexdigest()[:32]


def _layout(prepared: PreparedRecipe, integrator: Integrator) -> PatternLayout:
    recipe, matrix, texts = integrator.recipe, integrator.matrix, prepared.texts
    poni = Dataset(texts["poni"], {"filename": texts["poni_file"]} if "poni_file" in texts else {})
    mask = Dataset(
        effective_mask(recipe).astype(np.uint8),
        {"filename": texts["mask_file"]} if "mask_file" in texts else {},
        chunks=recipe.geometry.shape,
        compression="gzip",
    )
    others = {key: value for key, value in texts.items() if key not in ("poni", "poni_file", "mask_file")}
    return PatternLayout(
        unit=recipe.unit,
        radial_edges=matrix.radial_edges,
        norm=matrix.norm.reshape(recipe.shape),
        azimuth_edges_deg=matrix.azimuth_edges_deg,
        parameters={"recipe": prepared.settings.name, "poni": poni, "mask": mask, **others, **recipe.parameters()},
        has_errors=recipe.error_model != "none",
        cut="" if recipe.cut is None else recipe.cut.quantity,
    )
