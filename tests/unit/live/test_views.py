"""What the views show, as values."""

import numpy as np
import pytest

from danmax_bluesky.live.following import Following, Frame
from danmax_bluesky.live.frame_view import MOST_PX, Region, reduced, saturation_of, view_of
from danmax_bluesky.live.pattern_view import on_even_steps, reduced_row
from danmax_bluesky.live.tomo_view import MOST_ROWS, TomographyOfScan, coarse_to_fine
from danmax_bluesky.storage.journal import Journal
from danmax_bluesky.testing.compose import compose_tomography


def _frame(counts: np.ndarray) -> Frame:
    return Frame("orca", 7, 8, "proj", "projection", counts)


def test_a_frame_becomes_means_of_blocks_of_its_pixels():
    values = np.arange(5 * 7, dtype=np.float32).reshape(5, 7)
    values[0, 0] = np.nan
    image = reduced(values, 3)
    assert image.shape == (2, 3)
    assert image[0, 0] == np.float32(np.nanmean(values[:3, :3]))
    assert image[1, 2] == np.float32(values[3:, 6:].mean())


def test_a_block_of_bad_pixels_is_not_a_number():
    assert np.isnan(reduced(np.full((2, 2), np.nan, np.float32), 2)).all()


def test_a_large_frame_is_reduced_to_the_screen():
    view = view_of(_frame(np.ones((2048, 2048), np.uint16)))
    assert max(view.image.shape) <= MOST_PX
    assert view.bin_px == 4
    assert view.shape == (2048, 2048)


def test_the_flat_divides_and_the_dark_is_taken_off():
    dark, bright = np.full((4, 6), 100, np.float32), np.full((4, 6), 400, np.float32)
    view = view_of(_frame(np.full((4, 6), 300, np.uint16)), (dark, bright))
    assert view.corrected
    np.testing.assert_array_equal(view.image, np.full((4, 6), 0.5, np.float32))


def test_a_pixel_that_the_flat_does_not_light_has_no_transmission():
    bright = np.full((4, 6), 400, np.float32)
    bright[1, 2] = 0
    view = view_of(_frame(np.full((4, 6), 300, np.uint16)), (np.zeros((4, 6), np.float32), bright))
    assert np.isnan(view.image[1, 2])
    assert np.isfinite(view.image).sum() == 23


def test_saturated_pixels_are_counted_in_the_whole_frame_and_marked_in_the_image():
    counts = np.zeros((1400, 1300), np.uint16)
    counts[700, 650] = counts[701, 650] = 65535
    view = view_of(_frame(counts), limit=saturation_of("imaging", counts.dtype))
    assert view.n_saturated == 2
    assert view.saturated.sum() == 1
    assert view.saturated[700 // view.bin_px, 650 // view.bin_px]


def test_a_counting_detector_saturates_nowhere_and_its_bad_pixels_are_left_out():
    counts = np.full((20, 30), 5, np.uint32)
    counts[3, 4] = np.iinfo(np.uint32).max
    assert saturation_of("counting", counts.dtype) is None
    view = view_of(_frame(counts))
    assert view.n_saturated == 0
    assert np.isnan(view.image[3, 4])
    assert np.nanmax(view.image) == 5


def test_profiles_are_means_over_the_region():
    counts = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
    view = view_of(_frame(counts), region=Region(5, 15, 10, 20))
    part = counts[10:20, 5:15]
    np.testing.assert_array_equal(view.columns, np.arange(5, 15))
    np.testing.assert_allclose(view.across, part.mean(axis=0))
    np.testing.assert_allclose(view.down, part.mean(axis=1))
    assert view.mean == pytest.approx(part.mean())
    assert view.spread == pytest.approx(part.std())


@pytest.mark.parametrize("region", [Region(-10, 500, -3, 900), Region(39, 39, 29, 29), Region(700, 800, 700, 800)])
def test_a_region_that_reaches_beyond_the_frame_ends_at_its_edge(region):
    view = view_of(_frame(np.ones((30, 40), np.uint16)), region=region)
    assert view.mean == 1.0
    assert 0 <= view.region.left < view.region.right <= 40
    assert 0 <= view.region.top < view.region.bottom <= 30


def test_the_histogram_counts_every_pixel_within_its_edges():
    view = view_of(_frame(np.random.default_rng(1).normal(1000, 30, (64, 64)).astype(np.uint16)))
    inside = (view.image >= view.edges[0]) & (view.image <= view.edges[-1])
    assert view.histogram.sum() == inside.sum()
    assert view.edges[0] < view.low < view.high < view.edges[-1]


def test_projections_are_read_far_apart_first_and_each_once():
    order = list(coarse_to_fine(200, 1))
    assert order[:4] == [0, 64, 128, 192]
    assert sorted(order) == list(range(200))


def test_of_many_projections_each_nth_is_read():
    assert sorted(coarse_to_fine(1000, 5)) == list(range(0, 1000, 5))
    assert list(coarse_to_fine(0, 5)) == []


def test_patterns_stand_at_even_steps_of_a_channel_each_the_nearest_one():
    rows = np.arange(4.0)[:, None]
    shown, steps = on_even_steps(rows, np.array([30.0, 10.0, np.nan, 11.0]))
    np.testing.assert_allclose(steps, [10, 20, 30])
    np.testing.assert_array_equal(shown[:, 0], [1, 3, 0])


def test_a_channel_without_values_shows_no_patterns():
    shown, steps = on_even_steps(np.ones((3, 5)), np.full(3, np.nan))
    assert len(shown) == len(steps) == 0


def test_a_channel_that_does_not_change_shows_every_pattern():
    shown, steps = on_even_steps(np.arange(3.0)[:, None], np.full(3, 7.0))
    assert len(shown) == 3
    assert (steps == 7).all()


def test_bins_without_pixels_stay_empty_when_a_pattern_is_reduced():
    pattern = np.ones(3000)
    pattern[:5] = np.nan
    small = reduced_row(pattern)
    assert len(small) == 600
    assert np.isnan(small[0])
    assert (small[1:] == 1).all()


def test_the_lines_of_few_rows_are_kept_however_many_are_looked_at(tmp_path):
    composed = compose_tomography(tmp_path)
    journal = Journal(composed.folder / "scan-0001_documents.jsonl")
    for name, document in composed.documents:
        journal.write(name, document)
    journal.close()
    scan = Following(composed.folder / "scan-0001_documents.jsonl", [tmp_path])
    tomography = TomographyOfScan(scan)
    rows = range(12)
    views = [tomography.view("orca", row) for row in (*rows, 0)]
    scan.close()
    lines = [(view.row, view.sinogram[0]) for view in views if view is not None]
    assert [row for row, _ in lines] == [*rows, 0]
    assert len(tomography._lines) == MOST_ROWS
    np.testing.assert_array_equal(lines[0][1], lines[-1][1])
