import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.angles import (
    DEVIATES,
    MISSING,
    RECONSTRUCTED,
    WRAPPED,
    AnglesResult,
    lone_outliers,
    mid_exposure_angles,
    with_estimates,
)
from danmax_bluesky.tomography.triggers import EncoderScale

DANMAX = EncoderScale(11930463.0, -50.0, 32)
# Mean of the rotation encoder in the eleven frames of `ascanct tom_ry 0.0 180.0 10 0.1 0.0`, recorded at DanMAX.
RECORDED = np.array(
    [
        701422573.3,
        916152509,
        1130895525,
        1345642835,
        1560395044,
        1775139866,
        1989885379,
        -1462195292,
        -1875582232,
        -1660838628,
        -1446088113,
    ]
)
EXPECTED_DEG = [8.79, 26.79, 44.79, 62.79, 80.79, 98.79, 116.79, 134.79, 152.79, 170.79, 188.79]


@pytest.mark.parametrize("planned", [np.linspace(0, 180, 11), None])
def test_the_danmax_recording_gives_its_angles_and_flags_frame_7(planned):
    assert RECORDED[7] / 11930463 - 50 == pytest.approx(-172.56, abs=0.005)
    result = mid_exposure_angles(DANMAX, planned, mean=RECORDED)
    assert result.angles_deg == pytest.approx(EXPECTED_DEG, abs=0.01)
    assert result.flags.tolist() == [0] * 7 + [WRAPPED | RECONSTRUCTED] + [0] * 3
    assert result.describe() == "wrapped: frame 7; reconstructed: frame 7"


@pytest.mark.parametrize("lost", range(11))
def test_losing_any_recorded_frame_shifts_no_other_angle(lost):
    planned = np.linspace(0, 180, 11)
    whole = mid_exposure_angles(DANMAX, planned, mean=RECORDED)
    kept = np.delete(np.arange(11), lost)
    assert whole.of_frames(kept).angles_deg == pytest.approx(np.delete(whole.angles_deg, lost), abs=1e-12)
    # ... also where the trigger itself was never captured, so that fewer rows are there to look at.
    fewer = mid_exposure_angles(DANMAX, planned[kept], mean=RECORDED[kept])
    assert fewer.angles_deg == pytest.approx(np.delete(whole.angles_deg, lost), abs=0.005)


def test_a_frame_without_a_trigger_has_no_angle():
    result = mid_exposure_angles(DANMAX, mean=RECORDED).of_frames(np.array([3, -1, 99]))
    assert np.isnan(result.angles_deg[1:]).all()
    assert result.flags.tolist() == [0, MISSING, MISSING]
    assert "missing: 2 frames (1, 2)" in result.describe()


def captured(scale, middle_deg, exposure_deg):
    """End, change and mean of the signed register, as a PandA captures them, for a constant speed."""
    lap, half = 2.0**scale.bits, 2.0 ** (scale.bits - 1)
    begin = (np.asarray(middle_deg) - exposure_deg / 2 - scale.offset_deg) * scale.counts_per_deg
    end = begin + exposure_deg * scale.counts_per_deg
    shown = (end + half) % lap - half
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    mean = np.empty(len(begin))
    for row, (a, b) in enumerate(zip(low, high, strict=True)):
        first, total = np.floor((a + half) / lap), 0.0
        while first * lap - half < b:
            left, right = max(a, first * lap - half), min(b, (first + 1) * lap - half)
            total += (right - left) * ((left + right) / 2 - first * lap)
            first += 1
        mean[row] = total / (b - a) if b > a else shown[row]
    return shown, end - begin, mean


@settings(max_examples=200)
@given(
    st.floats(-1000, 1000),
    st.sampled_from([0.05, 1.0, 7.3, -0.4, -18.0]),
    st.integers(3, 200),
    st.floats(0.05, 1.0),
    st.floats(-170, 170),
    st.sampled_from([11930463.0, -11930463.0, 1000.0]),
)
def test_end_and_change_give_the_middle_in_every_lap(start, step, num, share, error, counts_per_deg):
    scale = EncoderScale(counts_per_deg, -50.0, 32)
    truth = start + step * np.arange(num)
    end, diff, _ = captured(scale, truth, share * step)
    result = mid_exposure_angles(scale, truth + error, end=end, diff=diff)
    assert result.angles_deg == pytest.approx(truth, abs=1e-6)


@settings(max_examples=200)
@given(
    st.floats(-1000, 1000),
    st.sampled_from([0.05, 1.0, 7.3, -0.4, -18.0]),
    st.integers(12, 200),
    st.floats(0.05, 1.0),
    st.floats(-5, 5),
    st.floats(-0.01, 0.01),
)
def test_means_give_the_middle_and_frames_that_wrap_are_flagged(start, step, num, share, error, stretch):
    truth = start + step * np.arange(num)
    end, diff, mean = captured(DANMAX, truth, share * step)
    planned = truth + error + stretch * step * np.arange(num)
    result = mid_exposure_angles(DANMAX, planned, mean=mean)
    # A frame that only just wrapped may keep an error of one part in ten thousand of a step.
    assert result.angles_deg == pytest.approx(truth, abs=1.1e-4 * abs(step) + 1e-5)
    wrapped = mid_exposure_angles(DANMAX, truth, end=end, diff=diff).flags & WRAPPED
    assert not ((result.flags & WRAPPED) & ~wrapped).any()


def test_a_wrap_in_the_first_or_last_frame_is_found_too():
    for truth in (np.arange(130.0, 150.0), np.arange(111.0, 131.0)):
        _, _, mean = captured(DANMAX, truth, 0.9)
        result = mid_exposure_angles(DANMAX, truth, mean=mean)
        assert result.angles_deg == pytest.approx(truth, abs=1e-4)
        assert np.count_nonzero(result.flags) == 1


def test_a_jerk_away_from_the_wrap_is_a_measurement_and_stays():
    truth = np.arange(0.0, 20.0)
    truth[7] += 0.3
    _, _, mean = captured(DANMAX, truth, 0.5)
    result = mid_exposure_angles(DANMAX, np.arange(0.0, 20.0), mean=mean, tolerance_deg=0.1)
    assert result.angles_deg == pytest.approx(truth, abs=1e-6)
    assert result.flags.tolist() == [0] * 7 + [DEVIATES] + [0] * 12


def test_noise_of_an_encoder_at_rest_is_no_wrap():
    generator = np.random.default_rng(1)
    mean = (20.0 + 50.0) * 11930463 + generator.normal(0, 30, 50)
    result = mid_exposure_angles(DANMAX, np.full(50, 20.0), mean=mean)
    assert not result.flags.any()
    assert result.angles_deg == pytest.approx(20.0, abs=2e-5)


def test_a_row_that_was_not_captured_is_missing_and_disturbs_none():
    mean = RECORDED.copy()
    mean[2] = np.nan
    result = mid_exposure_angles(DANMAX, np.linspace(0, 180, 11), mean=mean)
    assert np.flatnonzero(result.flags & MISSING).tolist() == [2]
    assert np.delete(result.angles_deg, 2) == pytest.approx(np.delete(EXPECTED_DEG, 2), abs=0.01)


def test_one_and_no_rows_are_fine():
    assert mid_exposure_angles(DANMAX, np.array([3.0]), mean=np.array([53.0 * 11930463])).angles_deg == pytest.approx(3)
    assert mid_exposure_angles(DANMAX, np.empty(0), end=np.empty(0), diff=np.empty(0)).angles_deg.size == 0


def test_what_was_not_captured_cannot_become_an_angle():
    with pytest.raises(ScanError, match="captured neither end and diff nor the mean"):
        mid_exposure_angles(DANMAX, end=np.zeros(3))
    with pytest.raises(ScanError, match="rows do not match"):
        mid_exposure_angles(DANMAX, np.zeros(4), mean=np.zeros(3))


def test_a_single_value_off_the_line_of_its_neighbours_is_seen_and_a_change_of_course_is_none():
    line = np.linspace(0, 60, 31)
    for index in range(31):
        spoiled = line.copy()
        spoiled[index] += 7.0
        assert np.flatnonzero(lone_outliers(spoiled, 1.0)).tolist() == [index]
    for course in (np.concatenate([line, line[::-1]]), np.where(line > 30, line + 50, line), line + 0.02 * line**2):
        assert not lone_outliers(course, 1.0).any()
    two = line.copy()
    two[10:12] -= 50.0
    assert np.flatnonzero(lone_outliers(two, 1.0)).tolist() == [10, 11]
    assert not lone_outliers(np.array([0.0, 1.0, 90.0, 3.0]), 1.0).any()


def test_angles_not_measured_or_impossible_are_estimated_from_their_neighbours():
    planned = np.linspace(0, 180, 91)
    truth = planned * 1.001 + 0.05
    measured = truth.copy()
    measured[[0, 40, 41, 90]] = np.nan
    measured[[20, 60]] += (7.0, -30.0)
    flags = np.where(np.isnan(measured), MISSING, 0).astype(np.uint8)
    result = with_estimates(AnglesResult(measured, flags), planned, tolerance_deg=1.0)
    assert result.angles_deg == pytest.approx(truth, abs=1e-9)
    expected = dict.fromkeys((0, 40, 41, 90), RECONSTRUCTED) | dict.fromkeys((20, 60), RECONSTRUCTED | DEVIATES)
    assert result.flags.tolist() == [expected.get(row, 0) for row in range(91)]
    believed = with_estimates(AnglesResult(measured, flags), planned)
    assert believed.angles_deg[20] == measured[20]


def test_a_jerk_of_a_tenth_of_a_degree_is_believed_however_fine_the_steps():
    planned = np.arange(100) * 0.01
    measured = planned.copy()
    measured[50] += 0.09
    assert not with_estimates(AnglesResult(measured, np.zeros(100, np.uint8)), planned, 0.005).flags.any()


def test_where_nothing_was_measured_nothing_is_estimated():
    nothing = AnglesResult(np.full(9, np.nan), np.full(9, MISSING, np.uint8))
    result = with_estimates(nothing, np.arange(9.0), 0.5)
    assert np.isnan(result.angles_deg).all()
    assert (result.flags == MISSING).all()
