"""Azimuth ranges, wherever they begin, against the points that the pixels consist of."""

import itertools

import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.matrix import build_matrix
from danmax_bluesky.scattering.recipe import Recipe

RADIAL = (0.3, 2.8)
RINGS = 12
ROWS = 8
POINTS = 12
RANGES = [(100.0, 170.0), (-179.9, 179.9), (0.0, 360.0), (170.0, 190.0), (-200.0, 100.0), (-22.5, 337.5)]
UNCORRECTED = {"unit": "2th_deg", "solid_angle": False, "polarization_factor": None}


@pytest.fixture(scope="module")
def points(geometry):
    """2theta and azimuth, degrees, of each of the points of each pixel, shape (POINTS**2, n_pixels)."""
    integrator = geometry.integrator()
    rows, columns = np.divmod(np.arange(np.prod(geometry.shape)), geometry.shape[1])
    offsets = (np.arange(POINTS) + 0.5) / POINTS - 0.5
    found = [
        integrator.calc_pos_zyx(d1=rows + row, d2=columns + column)
        for row, column in itertools.product(offsets, repeat=2)
    ]
    z, y, x = (np.stack(part) for part in zip(*found, strict=True))
    return np.degrees(np.arctan2(np.hypot(x, y), z)), np.degrees(np.arctan2(y, x))


def areas(points, edges) -> np.ndarray:
    """How many pixels, counted in points, lie in each cell, shape (n_rows, RINGS)."""
    angle, azimuth = points
    ring = np.floor((angle - RADIAL[0]) * (RINGS / (RADIAL[1] - RADIAL[0]))).astype(int)
    row = np.searchsorted(np.asarray(edges) - edges[0], (azimuth - edges[0]) % 360, side="right") - 1
    inside = (ring >= 0) & (ring < RINGS) & (row < len(edges) - 1)
    cells = np.bincount(row[inside] * RINGS + ring[inside], minlength=(len(edges) - 1) * RINGS)
    return cells.reshape(-1, RINGS) / POINTS**2


@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("splitting", ["no", "bbox", "full", "4x4"])
def test_the_cells_of_a_cake_hold_the_pixels_that_lie_in_them(geometry, points, limits, splitting):
    """A whole pixel may fall to either side without splitting; a box is a little wider than its pixel."""
    cake = {"radial_bins": RINGS, "radial_range": RADIAL, "azimuth_bins": ROWS, "azimuth_range_deg": limits}
    matrix = build_matrix(Recipe(geometry, splitting=splitting, **cake, **UNCORRECTED))
    found = matrix.norm.reshape(ROWS, RINGS)
    expected = areas(points, np.linspace(*limits, ROWS + 1))
    most = {"no": 3 * np.sqrt(expected.max()), "bbox": 0.5, "full": 0.25, "4x4": 1.0}[splitting]
    assert np.abs(found - expected).max() < most
    assert found.sum() == pytest.approx(expected.sum(), rel=0.05)
    assert matrix.azimuth_axis_deg == pytest.approx(np.linspace(*limits, ROWS + 1)[:-1] + np.ptp(limits) / ROWS / 2)


@pytest.mark.parametrize("splitting", ["bbox", "full", "4x4"])
def test_rows_may_have_edges_of_their_own(geometry, points, splitting):
    edges = (-10.0, 10.0, 45.0, 200.0, 340.0)
    recipe = Recipe(
        geometry,
        radial_bins=RINGS,
        radial_range=RADIAL,
        azimuth_edges_deg=edges,
        splitting=splitting,
        **UNCORRECTED,
    )
    assert recipe.shape == (4, RINGS)
    matrix = build_matrix(recipe)
    assert np.abs(matrix.norm.reshape(4, RINGS) - areas(points, edges)).max() < 1.0
    assert matrix.azimuth_axis_deg.tolist() == [0.0, 27.5, 122.5, 270.0]


@pytest.mark.parametrize("limits", [(-180.0, 180.0), (0.0, 360.0), (170.0, 190.0), (-200.0, 100.0)])
@pytest.mark.parametrize("splitting", ["no", "bbox", "full", "4x4"])
@pytest.mark.parametrize("orientation", [3, 2])
def test_the_pattern_of_a_range_is_the_mean_over_it(geometry, limits, splitting, orientation):
    turned = geometry.oriented(orientation)
    azimuth = turned.integrator().center_array(geometry.shape, unit="chi_rad")
    image = np.rint(2000 + 1000 * (np.cos(azimuth) + np.sin(azimuth))).astype(np.int32)
    first, last = np.radians(limits)
    rises = np.sin(last) - np.sin(first) - np.cos(last) + np.cos(first)
    recipe = Recipe(
        turned, radial_bins=5, radial_range=(1.0, 2.0), azimuth_range_deg=limits, splitting=splitting, **UNCORRECTED
    )
    mean = np.nanmean(Integrator(recipe).integrate(image[None]).intensity)
    assert mean == pytest.approx(2000 + 1000 * rises / (last - first), rel=0.03)


def test_a_full_circle_is_the_pattern_without_a_range_wherever_it_begins(geometry, frame):
    plain, whole = (
        Integrator(Recipe(geometry, radial_bins=40, azimuth_range_deg=limits)).integrate(frame[None]).intensity
        for limits in (None, (-90.0, 270.0))
    )
    assert np.array_equal(plain, whole, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"azimuth_range_deg": (170.0, -170.0)}, "azimuth_range 170 -170 must rise; to go on .* write 170 190"),
        ({"sectors_deg": ((0.0, 10.0), (20.0, 20.0))}, "sector 20 20 must rise"),
        ({"azimuth_range_deg": (0.0, 400.0)}, "must go around once at most"),
        ({"azimuth_range_deg": (0.0, float("nan"))}, "must be numbers"),
        ({"azimuth_edges_deg": (0.0, 90.0)}, "three or more"),
        ({"azimuth_edges_deg": (0.0, 90.0, 45.0)}, "must rise"),
        ({"azimuth_edges_deg": (0.0, 90.0, 95.0), "azimuth_bins": 2}, "leave out azimuth_bins"),
    ],
)
def test_azimuths_that_fall_are_refused_with_what_to_write(geometry, change, message):
    with pytest.raises(CalibrationError, match=message):
        Recipe(geometry, **change)
