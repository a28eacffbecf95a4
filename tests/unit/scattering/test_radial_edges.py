"""Radial bins with edges of their own, against pyFAI's even bins, NumPy's histogram and points inside of the pixels."""

from dataclasses import replace

import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.matrix import Matrix, build_matrix
from danmax_bluesky.scattering.recipe import Recipe

FINE = 60
RADIAL = (0.31, 2.77)
EVEN = np.linspace(*RADIAL, FINE + 1)
CHOSEN = np.array([3, 4, 6, 11, 12, 25, 40, 41, 56])
"""Some of the even edges, so that sums over even bins are what uneven bins must hold. In its first and last bins pyFAI
also counts pixels that lie just outside of a range."""
SPLITTINGS = ["no", "bbox", "full", "4x4"]
UNCORRECTED = {"unit": "2th_deg", "solid_angle": False, "polarization_factor": None}
AZIMUTHS = {
    "pattern": {},
    "sector through 180": {"azimuth_range_deg": (150.0, 260.0)},
    "two sectors": {"sectors_deg": ((-30.0, 30.0), (60.0, 200.0))},
    "cake": {"azimuth_bins": 8, "azimuth_range_deg": (-22.5, 337.5)},
    "cake of the full circle": {"azimuth_bins": 7},
    "cake with edges": {"azimuth_edges_deg": (-190.0, -40.0, 0.0, 100.0)},
}


def sums_of(matrix: Matrix, image: np.ndarray) -> np.ndarray:
    """Signal of each bin, flat."""
    pixels = np.repeat(np.arange(image.size), np.diff(matrix.starts))
    shares = matrix.coefficients.astype(float) * image.ravel()[pixels]
    return np.bincount(matrix.bins, shares, matrix.norm.size)


def counts_of(geometry) -> np.ndarray:
    return np.random.default_rng(3).integers(1, 1000, geometry.shape).astype(float)


@pytest.mark.parametrize(
    ("splitting", "azimuth"),
    [
        (splitting, azimuth)
        for splitting in SPLITTINGS
        for azimuth in AZIMUTHS
        if (splitting, azimuth) != ("full", "cake of the full circle")  # pyFAI lays rows over what the corners reach
    ],
)
def test_uneven_bins_hold_the_sums_of_the_even_bins_that_they_consist_of(geometry, splitting, azimuth):
    even = Recipe(
        geometry, splitting=splitting, radial_bins=FINE, radial_range=RADIAL, **AZIMUTHS[azimuth], **UNCORRECTED
    )
    uneven = replace(even, radial_range=None, radial_edges=tuple(EVEN[CHOSEN]))
    image = counts_of(geometry)
    fine = sums_of(build_matrix(even), image).reshape(-1, FINE)
    expected = np.add.reduceat(fine[:, : CHOSEN[-1]], CHOSEN[:-1], axis=1)
    matrix = build_matrix(uneven)
    found = sums_of(matrix, image).reshape(expected.shape)
    assert matrix.radial_edges == pytest.approx(EVEN[CHOSEN])
    most = 1e-3 if splitting == "full" and "cake" in azimuth else 1e-4  # pyFAI divides a pixel between rows roughly
    assert np.abs(found - expected).max() < most * expected.max()


@pytest.mark.parametrize("azimuth", [name for name in AZIMUTHS if "cake" in name])
def test_the_cells_of_a_cake_hold_the_areas_that_lie_in_them(geometry, azimuth):
    recipe = Recipe(geometry, radial_edges=tuple(EVEN[CHOSEN]), splitting="full", **AZIMUTHS[azimuth], **UNCORRECTED)
    areas, points = (build_matrix(replace(recipe, splitting=splitting)).norm for splitting in ("full", "12x12"))
    assert np.abs(areas - points).max() < 0.1  # of a pixel: its sides are straight in the plane of radius and azimuth


def test_without_splitting_the_bins_are_those_of_a_histogram(geometry):
    edges = (0.2, 0.5, 0.55, 1.9, 2.0, 3.1)
    image = counts_of(geometry)
    angle = geometry.integrator().center_array(geometry.shape, unit="2th_deg")
    expected, _ = np.histogram(angle, edges, weights=image)
    found = sums_of(build_matrix(Recipe(geometry, splitting="no", radial_edges=edges, **UNCORRECTED)), image)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_pixel_that_lies_between_the_edges_counts_as_one(geometry, splitting):
    recipe = Recipe(geometry, splitting=splitting, radial_edges=(0.0, 0.9, 1.0, 1.1, 90.0), **UNCORRECTED)
    matrix = build_matrix(recipe)
    shares = np.add.reduceat(matrix.coefficients, matrix.starts[:-1])
    assert shares == pytest.approx(np.ones(shares.size), abs=1e-5)
    assert matrix.norm.sum() == pytest.approx(np.prod(geometry.shape), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radial_edges": (1.0,)}, "two or more numbers that rise"),
        ({"radial_edges": (1.0, 1.0, 2.0)}, "two or more numbers that rise"),
        ({"radial_edges": (1.0, float("nan"), 2.0)}, "two or more numbers that rise"),
        ({"radial_edges": (1.0, 2.0), "radial_range": (1.0, 2.0)}, "leave out radial_range"),
        ({"radial_edges": (50.0, 60.0), "unit": "2th_deg"}, "no pixel lies in any bin"),
    ],
)
def test_edges_that_cannot_be_are_refused(geometry, changes, message):
    with pytest.raises(CalibrationError, match=message):
        build_matrix(Recipe(geometry, **changes))
