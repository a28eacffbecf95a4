"""Diffraction on the twin: counts, scans and meshes, each frame integrated with its positions beside it."""

import numpy as np
import pytest

from danmax_bluesky.errors import DanmaxError, PreflightError
from danmax_bluesky.formats.layout import ScanFiles
from danmax_bluesky.formats.record import fold
from danmax_bluesky.pipelines.job import output_path
from danmax_bluesky.scattering.peaks import peak_position_errors
from danmax_bluesky.session import Session
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.patterns import read_patterns

POINTS = 2000


@pytest.fixture(scope="module")
def session(session_of) -> Session:
    recipe = {"detector": "pilatus", "unit": "2th_deg", "radial_bins": POINTS}
    return session_of(formats__integrate=True, recipes=[recipe], sample="CeO2")


def measured(session, plan):
    session.RE(plan)
    session.wait_for_files()
    files = ScanFiles.of(session.last_run)
    return fold(read_journal(files.documents)), read_patterns(output_path(files.detector("pilatus")))


def test_a_count_is_integrated_and_its_lines_are_where_they_should_be(session):
    record, patterns = measured(session, session.plans.azint_count(5, 0.5))
    assert record.is_complete
    assert patterns.intensity.shape == (5, POINTS)
    mean = np.nanmean(patterns.intensity, axis=0)
    wavelength_m = 12.398419843320026e-10 / session.settings.source.energy_kev
    peaks = peak_position_errors(patterns.radial_axis, mean, "CeO2", wavelength_m)
    assert len(peaks) >= 5
    assert max(abs(peak.error_deg) for peak in peaks) < 0.01
    scatter = np.nanstd(patterns.intensity, axis=0)
    bright = mean > np.nanpercentile(mean, 50)
    assert np.nanmedian(patterns.sigma[:, bright]) == pytest.approx(np.nanmedian(scatter[bright]), rel=0.25)


def test_a_mesh_with_snake_keeps_the_position_of_every_pattern(session):
    record, patterns = measured(session, session.plans.mesh("tom_sam_y", 0, 0.2, 2, "tom_sam_x", -0.3, 0.3, 3, 0.05))
    assert record.is_complete
    assert record.start["shape"] == [3, 4]
    row = np.linspace(-0.3, 0.3, 4)
    assert patterns.columns["tom_sam_x"] == pytest.approx(np.concatenate([row, row[::-1], row]), abs=1e-3)
    assert patterns.columns["tom_sam_y"] == pytest.approx(np.repeat([0, 0.1, 0.2], 4), abs=1e-3)
    centred = np.abs(patterns.columns["tom_sam_x"]) < 0.2
    total = np.nansum(patterns.intensity, axis=1)
    assert total[centred].min() > total[~centred].max()


def test_a_relative_scan_returns_to_where_the_motor_stood(session):
    record, patterns = measured(session, session.plans.azint_scan("tom_sam_x", -0.1, 0.1, 2, 0.05, relative=True))
    assert patterns.columns["tom_sam_x"] == pytest.approx([-0.1, 0, 0.1], abs=1e-3)
    assert record.snapshots[0].values["tom_sam_x"] == pytest.approx(0, abs=1e-3)
    record, _ = measured(session, session.plans.azint_count(1, 0.05))
    assert record.snapshots[0].values["tom_sam_x"] == pytest.approx(0, abs=1e-3)


def test_a_continuous_scan_of_the_rotation_arms_once(session):
    before = session.beamline.twin.world.armings["pilatus"]
    record, patterns = measured(session, session.plans.azint_scan("tom_ry", 0, 18, 9, 0.05, continuous=True))
    assert record.is_complete
    assert len(patterns.intensity) == 10
    assert session.beamline.twin.world.armings["pilatus"] == before + 1
    true = session.beamline.twin.world.exposures["pilatus"]["angle_deg"]
    assert true == pytest.approx(np.linspace(0, 18, 10), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("azint_count", (0, 0.1), "num = 0"),
        ("azint_count", (3, -0.1), "exp_time = -0.1"),
        ("azint_scan", ("tom_sam_x", 0, 1, 0, 0.1), "intervals = 0"),
        ("azint_scan", ("nowhere", 0, 1, 5, 0.1), "motor nowhere: there is none"),
        ("mesh", ("tom_sam_y", 0, 900, 2, "tom_sam_x", 0, 1, 2, 0.1), "limits are -50 to 50"),
    ],
)
def test_what_cannot_be_measured_is_told_and_takes_no_number(session, name, arguments, told):
    number = session.paths.visit.next_number()
    with pytest.raises(DanmaxError, match=told):
        session.RE(getattr(session.plans, name)(*arguments))
    assert session.paths.visit.next_number() == number


def test_every_motor_out_of_reach_is_told_at_once(session):
    with pytest.raises(PreflightError) as error:
        session.RE(session.plans.mesh("tom_sam_y", 0, 900, 2, "tom_sam_x", 0, 900, 2, 0.1))
    assert len(error.value.findings) == 2
