"""The script of the page of public names runs as it stands, and what a session shows of itself is true."""

import json
import re
from html import escape
from pathlib import Path

import numpy as np
import pytest
from IPython.lib.pretty import pretty
from matplotlib.collections import QuadMesh

from danmax_bluesky import (
    DanmaxError,
    Settings,
    TomoScan,
    load_settings,
    open_catalog,
    open_scan,
    peak_position_errors,
    reconstruct,
)
from danmax_bluesky.storage.scan_plots import plot_scan

PAGE = Path(__file__).parents[2] / "docs/reference/public-names.md"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The names that the page's script leaves behind."""
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("script"))
    for side, pixels in (("WIDTH", 487), ("HEIGHT", 407)):
        patch.setenv(f"DANMAX_DETECTORS__PILATUS__{side}", str(pixels))
    names = {}
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
            exec(compile(code, str(PAGE), "exec"), names)
        yield names
    finally:
        patch.undo()


def test_the_script_measures_reconstructs_and_integrates(script):
    scan, result = script["scan"], script["result"]
    assert len(scan.frames) == 91
    assert result.volume.shape == (2, 256, 256)
    assert result.left_out == 0
    np.testing.assert_allclose(result.centre_px, 130.8, atol=0.5)  # where the twin's axis is
    once, again = script["patterns"], script["again"]
    assert (once.intensity.shape, again.intensity.shape) == ((3, 3000), (3, 6000))
    wavelength_m = 12.398419843320026e-10 / script["powder"].start["source"]["energy_kev"]
    errors = peak_position_errors(again.radial_axis, np.nanmean(again.intensity, axis=0), "CeO2", wavelength_m)
    assert len(errors) >= 4
    assert max(abs(peak.error_deg) for peak in errors) < 0.01


def test_a_row_that_the_camera_does_not_have_is_refused_with_those_that_it_has(script):
    with pytest.raises(DanmaxError, match=r"rows = 64: frames of orca have the rows 0 to 63"):
        reconstruct(script["scan"], rows=[3, 64])


def test_patterns_that_are_not_there_are_named_with_those_that_are(script):
    with pytest.raises(DanmaxError, match=r"no integrated patterns of eiger; with patterns: scan-0002_pilatus_"):
        script["powder"].patterns("eiger")
    assert script["powder"].patterns("pilatus", "fine").intensity.shape == (3, 6000)


def test_a_tomography_is_plotted_by_a_projection_and_a_slice_of_it(script):
    figure = plot_scan(script["scan"])
    pictures = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in pictures] == ["projection 46 of 91, at 90 degrees", "slice of row 32"]
    transmission = pictures[0].images[0].get_array().filled(np.nan)
    assert 0.9 < np.nanmedian(transmission[:, :20]) < 1.1
    assert np.nanmedian(transmission[:, 118:138]) < 0.8
    assert script["scan"].plot()._repr_png_().startswith(b"\x89PNG")


def test_a_series_is_plotted_by_its_patterns(script):
    collections = [found for axes in script["powder"].plot().axes for found in axes.collections]
    (mesh,) = [found for found in collections if isinstance(found, QuadMesh) and found.get_array().size > 300]
    np.testing.assert_array_equal(mesh.get_array().filled(np.nan), script["powder"].patterns("pilatus").intensity)


def test_a_scan_shows_its_frames_by_kind(script):
    assert "orca: 91 projections, 8 flats, 8 darks, 2 alignment, 64 x 256 pixels, uint16" in repr(script["scan"])
    assert "pilatus: 3 frames, " in repr(script["powder"])
    html = script["scan"]._repr_html_()
    assert "<td" in html
    assert "91 projections" in html
    assert script["scan"].command.startswith("tomo_scan(")
    assert script["scan"].title.startswith("ascanct tom_ry 0.0 ")
    assert escape(script["scan"].title) in html
    assert escape(script["scan"].command) in html


def test_a_mesh_is_plotted_as_a_map_of_its_positions(sessions):
    session = sessions(**{"formats.integrate": True, "sample": "CeO2"})
    session.RE(session.plans.mesh("tom_sam_x", -1, 1, 4, "tom_sam_y", 0, 1, 2, 0.02))
    session.wait_for_files()
    figure = session.last_scan().plot()
    collections = [found for axes in figure.axes for found in axes.collections if isinstance(found, QuadMesh)]
    (drawn,) = [found for found in collections if found.get_array().shape == (3, 5)]
    patterns = session.last_scan().patterns()
    image = drawn.get_array().filled(np.nan)
    mean = np.nanmean(patterns.intensity, axis=1)
    x, y = (np.round(patterns.columns[f"tom_sam_{axis}"], 2) for axis in "xy")
    for row, column in ((0, 2), (1, 0), (2, 4)):
        (number,) = np.flatnonzero((x == -1 + column / 2) & (y == row / 2))
        assert image[row, column] == mean[number]
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("tom_sam_x / mm", "tom_sam_y / mm")


def test_a_motor_shows_where_it_stands_and_its_limits(sessions):
    session = sessions()
    motor = session.beamline.motors["tom_sam_x"]
    session.RE(session.plans.azint_scan("tom_sam_x", 0, 2.5, 1, 0.01))
    assert pretty(motor) == "<Motor tom_sam_x: at 2.5 mm, limits -50 to 50 mm>"
    session.close()
    assert pretty(motor).startswith("<Motor tom_sam_x: its position cannot be read (")


def test_a_session_shows_where_its_files_go_and_what_was_measured_last(sessions):
    session = sessions()
    assert "last scan" not in repr(session)
    session.RE(session.plans.azint_count(2, 0.01))
    lines = repr(session).splitlines()
    assert lines[0] == "<Session on the simulated beamline>"
    assert f"  files go to   {session.paths.visit.raw}" in lines
    assert "  last scan     1: azint_count(2, 0.01)" in lines
    assert "tom_ry, tom_sam_x" in session._repr_html_()


def test_settings_and_scans_show_what_is_not_as_usual():
    assert "sample='bone'" in repr(Settings(sample="bone"))
    assert "proposal" not in repr(Settings(sample="bone"))
    scan = TomoScan(scan_type="dscanct", scan_end=90, nsteps=90, exp_time=0.02)
    assert repr(scan).startswith("TomoScan(scan_type='dscanct', scan_end=90.0, nsteps=90, exp_time=0.02")
    assert eval(repr(scan), {"TomoScan": TomoScan}) == scan
    assert "bone" in Settings(sample="bone")._repr_html_()


def test_a_catalogue_without_a_run_is_refused_at_once(tmp_path):
    settings = load_settings(options={"data_root": str(tmp_path)})
    with pytest.raises(DanmaxError, match=r"no run was measured there with a catalogue"), open_catalog(settings):
        pass


def test_the_start_document_of_a_scan_without_a_journal_is_empty(script, tmp_path):
    copy = tmp_path / "elsewhere.h5"
    copy.write_bytes(script["tomography"].path.with_name("scan-0001_dxchange.h5").read_bytes())
    scan = open_scan(copy)
    assert scan.start == {}
    assert scan.pattern_files() == []
    assert json.dumps(dict(script["scan"].start))
    assert script["scan"].start["plan_name"] == "tomo_scan"
