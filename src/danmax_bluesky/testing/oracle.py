"""pyFAI as the judge of an integration: the same recipe through its own engine and kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pyFAI import units
from pyFAI.containers import ErrorModel
from pyFAI.engines.CSR_engine import CSRIntegrator

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Verdict:
    """How far two integrations of one frame lie apart.

    Attributes:
        intensity: largest difference, in units of the largest intensity.
        sigma: largest relative difference.
        axis: largest relative difference.
        bins: how many were compared.
    """

    intensity: float
    sigma: float
    axis: float
    bins: int


def judge(recipe: Recipe, frame: np.ndarray) -> Verdict:
    """Compare an integration with pyFAI's.

    Args:
        recipe: whose splitting, weighting and error model pyFAI has.
        frame: counts, negative where a pixel is bad.
    """
    bad = frame < 0 if recipe.mask is None else (frame < 0) | recipe.mask
    intensity, sigma, norm, axis = pyfai_pattern(recipe, frame, bad)
    integrator = Integrator(recipe)
    ours = integrator.integrate(frame[None])
    filled = norm > 1e-6 * np.nanmax(norm)
    if recipe.splitting == "full" and recipe.azimuth_bins > 1:
        filled &= ~_near_the_first_pixel(recipe, integrator.matrix)
    found = ours.intensity[0][filled]
    difference = np.abs(found - intensity[filled]).max() / np.abs(intensity[filled]).max()
    compared = filled & (sigma > 0)
    apart = np.abs(ours.sigma[0][compared] / sigma[compared] - 1).max(initial=0.0)
    axis_apart = np.abs(integrator.matrix.radial_axis / axis - 1).max()
    return Verdict(float(difference), float(apart), float(axis_apart), int(filled.sum()))


def pyfai_pattern(recipe: Recipe, frame: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Intensity, sigma and norm in the shape of the recipe, and the radial axis in its unit."""
    integrator = recipe.geometry.integrator()
    radial: Any = units.to_unit(recipe.unit)
    cake = recipe.azimuth_bins > 1
    engine: Any = integrator.setup_sparse_integrator(
        frame.shape,
        (recipe.radial_bins, recipe.azimuth_bins) if cake else recipe.radial_bins,
        mask.astype(np.int8),
        pos0_range=None if recipe.radial_range is None else tuple(x / radial.scale for x in recipe.radial_range),
        pos1_range=integrator.normalize_azimuth_range(recipe.azimuth_range_deg),
        mask_checksum=1,
        unit=(radial, units.to_unit("chi_deg")) if cake else radial,
        split=recipe.splitting,
        algo="CSR",
        scale=False,
    )
    least = 1 if recipe.error_model == "pyfai-poisson" else 0
    variance = np.maximum(frame, least).astype(np.float32)
    if recipe.dark is not None:
        variance = (variance + recipe.dark / recipe.dark_frames).astype(np.float32)
    corrections: dict[str, Any] = {
        "dark": recipe.dark,
        "flat": recipe.flat,
        "solidangle": integrator.solidAngleArray(frame.shape) if recipe.solid_angle else None,
        "polarization": None
        if recipe.polarization_factor is None
        else integrator.polarization(frame.shape, factor=recipe.polarization_factor),
        "weighted_average": recipe.weighting == "pyfai",
    }
    axis = np.asarray(engine.bin_centers0 if cake else engine.bin_centers) * radial.scale
    if recipe.error_model == "azimuthal":
        if recipe.splitting != "no":
            raise CalibrationError("pyFAI has the azimuthal error model without splitting alone; its code says so")
        kernel: Any = CSRIntegrator(frame.size, (engine.data, engine.indices, engine.indptr))
        sums = np.asarray(kernel.integrate(frame, None, ErrorModel.AZIMUTHAL, **corrections), float)
        norm = sums[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return sums[:, 0] / norm, np.sqrt(sums[:, 1]) / norm, norm, axis
    result = engine.integrate_ng(frame, variance=variance, error_model=ErrorModel.VARIANCE, **corrections)
    return result.intensity, result.sem, result.normalization, axis


def _near_the_first_pixel(recipe: Recipe, matrix: Any) -> np.ndarray:
    """Bins about the first pixel of a fully split cake: pyFAI computes it in memory that it never cleared."""
    pixel = np.flatnonzero(np.diff(matrix.starts))[0]
    row, column = np.divmod(
        matrix.bins[matrix.starts[pixel] : matrix.starts[pixel + 1]].astype(int), recipe.radial_bins
    )
    rows, columns = np.indices(recipe.shape)
    apart = (rows - row.min()) % recipe.azimuth_bins
    beside = (apart <= np.ptp(row) + 1) | (apart == recipe.azimuth_bins - 1)
    return beside & (columns >= column.min() - 2) & (columns <= column.max() + 2)
