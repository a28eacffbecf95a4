"""What slices are made of: the frames of a scan by their kind, in time."""

import numpy as np
import pytest
import xarray as xr

from danmax_bluesky.pipelines.one_pass import read_lines
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames

NUM = 181


def beam(index):
    """Falls to half within the first quarter of the projections."""
    return 20000 * (1 - 0.5 * min(1.0, 4 * index / NUM))


def scan_of_air(**coords):
    """Nothing but air, with five flats before every twentieth projection, and after the last."""
    light, keys, theta = [0.0] * 5, [2] * 5, [0.0] * 5
    for index in range(NUM + 1):
        if index % 20 == 0 or index == NUM:
            light += [beam(index)] * 5
            keys += [1] * 5
            theta += [180 * index / (NUM - 1)] * 5
        if index < NUM:
            light, keys, theta = [*light, beam(index)], [*keys, 0], [*theta, 180 * index / (NUM - 1)]
    frames = np.array(light)[:, None, None] * np.ones((2, 16)) + 100
    return xr.Dataset(
        {"data": (("frame", "y", "x"), frames.astype(np.uint16))},
        coords={"image_key_control": ("frame", keys), "rotation_angle": ("frame", theta), **coords},
    )


def air(scan):
    return read_lines(TomographyFrames.of(scan, "orca"), [], [0], 2**30).near[0, :, 5]


def test_each_projection_is_divided_by_the_flats_around_it():
    found = air(scan_of_air())
    assert np.abs(found).max() < 0.08  # where the fall of the beam ends between two groups of flats
    assert np.median(np.abs(found)) < 0.005


def test_the_time_counts_where_it_is_known_and_the_order_taken_where_it_is_not():
    scan = scan_of_air()
    key = scan["image_key_control"].values
    sorted_by_kind = np.argsort(-key, kind="stable")  # as a DXchange file has them
    shuffled = scan.isel(frame=sorted_by_kind)
    for name, values in (("sequence_number", sorted_by_kind), ("time", 1.7e9 + 0.01 * sorted_by_kind)):
        assert np.abs(air(shuffled.assign_coords({name: ("frame", values)}))).max() < 0.08
    unknown = np.where(sorted_by_kind == 50, np.nan, 1.7e9)
    both = {"time": ("frame", unknown), "sequence_number": ("frame", sorted_by_kind)}
    assert np.abs(air(shuffled.assign_coords(both))).max() < 0.08


def test_the_exposure_of_flats_counts_once_however_the_file_has_it():
    scan = scan_of_air()
    flat = scan["image_key_control"].values == 1
    exposure = ("frame", np.where(flat, 0.04, 0.01))
    raw = scan.copy()
    raw["data"] = raw["data"].astype(float)
    raw["data"][flat] = 100 + 4 * (raw["data"][flat] - 100)
    assert np.abs(air(raw.assign_coords(count_time=exposure))).max() < 0.08
    scaled = scan.assign_coords(count_time=exposure, scale=("frame", np.where(flat, 0.25, 1.0)))
    assert np.abs(air(scaled)).max() < 0.08
    partly = np.where(np.arange(len(flat)) == 40, np.nan, exposure[1])
    assert air(scan.assign_coords(count_time=("frame", partly))) == pytest.approx(air(scan))


def test_the_current_of_the_ring_counts_where_it_is_known():
    current = np.array([beam(index) for index in range(NUM)])
    scan = scan_of_air()
    key = scan["image_key_control"].values
    known = np.full(len(key), 5.0)
    known[key == 0] = current
    known[key == 1] = scan["data"].values[key == 1, 0, 0] - 100.0
    assert air(scan.assign_coords(ring_current=("frame", known))) == pytest.approx(0, abs=1e-4)
