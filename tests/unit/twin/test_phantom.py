import numpy as np
import pytest

from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.sources.base import DEAD, NOISY, Gate, camera_config
from danmax_bluesky.twin.sources.phantom import (
    AXIS_OFFSET_PX,
    PhantomSource,
    axis_column,
    line_integrals,
    sample_ellipsoids,
    truth_slice,
)

ORCA = {"kind": "imaging", "name": "orca", "width": 128, "height": 24, "pixel_size_m": 5.5e-6, "magnification": 5.0}
OUT_MM = 20.0


def gate(trigger=0, angle_deg=0.0, is_open=True, x_mm=0.0, y_mm=0.0, beam=1.0, exposure_s=0.01):
    return Gate(0, round(exposure_s * 1e9), trigger, angle_deg, int(is_open), x_mm, y_mm, 0.0, beam, 0)


def expose(config=ORCA, **changes):
    return PhantomSource(camera_config(config)).frame(gate(**changes)).astype(float)


def good(config=ORCA):
    return PhantomSource(camera_config(config)).pixel_mask == 0


@pytest.mark.parametrize("angle_deg", [0.0, 33.0, 90.0, 215.0])
def test_line_integrals_equal_the_sum_along_each_ray(angle_deg):
    config = camera_config({**ORCA, "width": 48, "height": 9})
    step = config.field_width_mm / 8000
    z = (np.arange(8000) + 0.5) * step - config.field_width_mm / 2
    x = (np.arange(48) - axis_column(config))[:, None] * config.pixel_mm
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    u, v = x * cos - z * sin, x * sin + z * cos
    summed = np.zeros((9, 48))
    for row in range(9):
        y = (4 - row) * config.pixel_mm
        for mu, cu, cv, cy, a, b, c, turn_deg in sample_ellipsoids(config):
            turn = np.deg2rad(turn_deg)
            along = (u - cu) * np.cos(turn) + (v - cv) * np.sin(turn)
            across = (v - cv) * np.cos(turn) - (u - cu) * np.sin(turn)
            inside = (along / a) ** 2 + (across / b) ** 2 + ((y - cy) / c) ** 2 <= 1
            summed[row] += mu * step * inside.sum(axis=1)
    np.testing.assert_allclose(line_integrals(config, angle_deg), summed, atol=0.01)


@pytest.mark.parametrize("angle_deg", [0.0, 33.0, 215.0])
def test_line_integrals_about_a_tilted_axis_equal_the_sum_along_each_ray(angle_deg):
    tilts = {"axis_roll_deg": 4.0, "axis_pitch_deg": -6.0, "sample_scale": 0.6, "sample_off_axis_mm": (0.004, -0.003)}
    config = camera_config({**ORCA, "width": 48, "height": 9, **tilts})
    step = config.field_width_mm / 8000
    z = (np.arange(8000) + 0.5) * step - config.field_width_mm / 2
    x = (np.arange(48) - axis_column(config))[:, None] * config.pixel_mm
    angle, roll, pitch = np.deg2rad([angle_deg, 4.0, -6.0])
    summed = np.zeros((9, 48))
    for row in range(9):
        y = (4 - row) * config.pixel_mm
        upright_x, height = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
        along, up = z * np.cos(pitch) - height * np.sin(pitch), z * np.sin(pitch) + height * np.cos(pitch)
        u = upright_x * np.cos(angle) - along * np.sin(angle)
        v = upright_x * np.sin(angle) + along * np.cos(angle)
        for mu, cu, cv, cy, a, b, c, turn_deg in sample_ellipsoids(config):
            turn = np.deg2rad(turn_deg)
            first = (u - cu) * np.cos(turn) + (v - cv) * np.sin(turn)
            second = (v - cv) * np.cos(turn) - (u - cu) * np.sin(turn)
            summed[row] += mu * step * ((first / a) ** 2 + (second / b) ** 2 + ((up - cy) / c) ** 2 <= 1).sum(axis=1)
    np.testing.assert_allclose(line_integrals(config, angle_deg), summed, atol=0.01)


def test_a_camera_out_of_focus_is_blurred_where_it_is_out_of_focus():
    tilted = {**ORCA, "focus_blur_px": 100.0, "focus_best": 0.01, "focus_tilt_deg": (20.0, 0.0)}
    sharp = expose()

    def change(config, focus):
        frame = PhantomSource(camera_config(config)).frame(gate()._replace(focus=focus)).astype(float)
        error = np.abs(frame - sharp)
        return error[:, :44].mean(), error[:, 84:].mean()

    even = {**tilted, "focus_tilt_deg": (0.0, 0.0)}
    assert change(even, 0.01) == (0.0, 0.0)
    assert min(change(even, 0.05)) > 0
    left, right = change(tilted, 0.01 - np.tan(np.deg2rad(20)) * 0.05)
    assert left < 0.5 * right, "the left side is near its focus then"


@pytest.mark.parametrize("angle_deg", [0.0, 20.0, 90.0, 137.0, -45.0])
def test_a_slice_weighs_and_balances_as_its_projection(angle_deg):
    config = camera_config({**ORCA, "width": 1024, "height": 1})
    truth = truth_slice(config, supersampling=2)
    projected = line_integrals(config, angle_deg)[0].astype(float)
    weight = truth.attenuation_per_mm.sum(dtype=float) * truth.pixel_mm**2
    assert projected.sum() * truth.pixel_mm == pytest.approx(weight, rel=2e-3)
    middle = (config.width - 1) / 2
    row, column = np.indices(truth.attenuation_per_mm.shape)
    u, v = (np.average(axis, weights=truth.attenuation_per_mm) for axis in (column - middle, middle - row))
    balance = np.average(np.arange(config.width), weights=projected)
    expected = truth.axis_column + u * np.cos(np.deg2rad(angle_deg)) + v * np.sin(np.deg2rad(angle_deg))
    assert balance == pytest.approx(expected, abs=0.05)


def test_attenuation_is_nowhere_negative():
    for row in (0, 5, None, 23):
        assert truth_slice(ORCA, row).attenuation_per_mm.min() >= -1e-4


def test_slices_differ_from_row_to_row_and_follow_the_stage():
    config = {**ORCA, "height": 64}
    pixel_mm = camera_config(config).pixel_mm
    low, high = (truth_slice(config, row).attenuation_per_mm for row in (20, 44))
    assert np.abs(low - high).max() > 1
    raised = truth_slice(config, 20, y_mm=24 * pixel_mm).attenuation_per_mm
    np.testing.assert_array_equal(raised, high)


def test_the_axis_is_off_the_middle_by_a_known_offset():
    assert axis_column(ORCA) == (128 - 1) / 2 + AXIS_OFFSET_PX
    assert axis_column({**ORCA, "width": 20}) == (20 - 1) / 2 + 1


def test_a_half_turn_mirrors_the_projection_about_the_axis():
    config = {**ORCA, "width": 121}
    axis = axis_column(config)
    there, back = (line_integrals(config, angle)[12] for angle in (10.0, 190.0))
    columns = np.arange(20, 100)
    np.testing.assert_allclose(np.interp(2 * axis - columns, np.arange(121), back), there[columns], atol=0.06)


def test_the_stage_moves_the_image_right_and_up():
    pixel_mm = camera_config(ORCA).pixel_mm
    still = line_integrals(ORCA, 30.0)
    np.testing.assert_allclose(line_integrals(ORCA, 30.0, (5.0, 0.0))[:, 5:], still[:, :-5], atol=1e-4)
    np.testing.assert_allclose(line_integrals(ORCA, 30.0, (0.0, 3.0))[:-3], still[3:], atol=1e-4)
    source = PhantomSource(camera_config(ORCA))
    moved = source.frame(gate(x_mm=5 * pixel_mm, exposure_s=0.05)).astype(float)
    shifted = expose({**ORCA, "drift_px": (5000.0, 0.0)}, trigger=1, exposure_s=0.05)
    assert np.corrcoef(moved.ravel(), shifted.ravel())[0, 1] > 0.99


def test_the_sample_out_of_the_beam_leaves_a_flat_and_a_closed_shutter_a_dark():
    flat, dark, projection = expose(x_mm=OUT_MM), expose(is_open=False), expose()
    assert np.median(dark) == pytest.approx(100, abs=2)
    assert np.median(flat) > 3000
    middle = np.s_[:, 50:80]
    assert np.median(projection[middle]) < 0.6 * np.median(flat[middle])
    assert np.median(np.abs(expose(angle_deg=77, x_mm=OUT_MM) - flat)) == 0


def test_without_beam_an_open_shutter_gives_a_dark():
    np.testing.assert_array_equal(expose(beam=0.0), expose(is_open=False))


def test_counts_follow_beam_and_exposure():
    full, half, twice = (expose(x_mm=OUT_MM, **change) for change in ({}, {"beam": 0.5}, {"exposure_s": 0.02}))
    sound = good()
    net = [(frame[sound] - 100).mean() for frame in (full, half, twice)]
    assert net[1] == pytest.approx(0.5 * net[0], rel=0.01)
    assert net[2] == pytest.approx(2 * net[0], rel=0.01)


def test_a_frame_is_never_brighter_than_16_bits():
    frame = PhantomSource(camera_config(ORCA)).frame(gate(x_mm=OUT_MM, exposure_s=10.0))
    assert frame.dtype == np.uint16
    assert (frame[good()] == 65535).all()


@pytest.mark.parametrize("exposure_s", [2e-6, 2e-5, 0.02])
def test_noise_is_that_of_photons_and_readout(exposure_s):
    source = PhantomSource(camera_config(ORCA))
    frames = np.stack([source.frame(gate(trigger, x_mm=OUT_MM, exposure_s=exposure_s)) for trigger in range(100)])
    sound = good()
    mean, variance = frames.mean(axis=0)[sound] - 100, frames.var(axis=0, ddof=1)[sound]
    assert variance.mean() == pytest.approx(mean.mean() + 1.6**2 + 1 / 12, rel=0.05)


def test_a_frame_depends_on_seed_name_and_trigger_alone():
    source = PhantomSource(camera_config(ORCA))
    first = [source.frame(gate(trigger, 10.0 * trigger)) for trigger in range(4)]
    source.restart()
    again = [source.frame(gate(trigger, 10.0 * trigger)) for trigger in (3, 2, 1, 0)][::-1]
    np.testing.assert_array_equal(first, again)
    assert (expose(trigger=1) != expose(trigger=2)).mean() > 0.9
    assert (expose({**ORCA, "seed": 2}) != expose()).mean() > 0.9
    assert (expose({**ORCA, "name": "other"}) != expose()).mean() > 0.9


def test_dead_and_hot_pixels_are_marked_and_behave_so_whatever_the_seed():
    one, two = (PhantomSource(camera_config({**ORCA, "seed": seed})) for seed in (1, 2))
    np.testing.assert_array_equal(one.pixel_mask, two.pixel_mask)
    dead, hot = one.pixel_mask == DEAD, one.pixel_mask == NOISY
    assert dead.sum() >= 4
    assert hot.sum() >= 4
    flat, dark = expose(x_mm=OUT_MM), expose(is_open=False)
    assert flat[dead].max() < 120
    assert dark[hot].min() > 5000
    assert dark[one.pixel_mask == 0].max() < 120
    assert not one.pixel_mask[10:14].any()


def test_drift_grows_with_the_trigger():
    config = {**ORCA, "drift_px": (2.0, 0.0)}
    early, late = (expose(config, trigger=trigger, exposure_s=0.1) for trigger in (0, 4000))
    sharp = expose(exposure_s=0.1)
    assert np.abs(early - sharp).max() == 0
    edge = [np.argmax(np.abs(np.diff(frame[12, :40]))) for frame in (early, late)]
    assert edge[1] - edge[0] == pytest.approx(8, abs=2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"width": 0}, "width = 0 must be positive"),
        ({"kind": "video"}, "'imaging' or 'counting'"),
        ({"colour": "red"}, "unknown entries .'colour'."),
        ({"drift_px": [1.0]}, "two numbers"),
    ],
)
def test_a_wrong_description_is_answered_with_key_and_value(change, told):
    with pytest.raises(DeviceError, match=told):
        camera_config({**ORCA, **change})


def test_a_missing_entry_is_named():
    with pytest.raises(DeviceError, match="height"):
        camera_config({key: value for key, value in ORCA.items() if key != "height"})
