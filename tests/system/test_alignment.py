"""Alignment on the twin: what is proposed is true within its uncertainty, and nothing moves before it is told to."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from danmax_bluesky.alignment.detector import detector_estimates, distance_mm, tilt_deg
from danmax_bluesky.errors import AlignmentError, PreflightError, ScanError
from danmax_bluesky.scattering.calibration import refine_geometry
from danmax_bluesky.scattering.geometry import geometry_of_poni, simulated_geometry
from danmax_bluesky.session import Session
from danmax_bluesky.shell.magics import Magics
from danmax_bluesky.twin.sources.base import CameraConfig, Gate
from danmax_bluesky.twin.sources.powder import PowderSource


@pytest.fixture(scope="module")
def session(session_of) -> Session:
    return session_of(sample="CeO2", formats__integrate=True, recipes=[{"detector": "pilatus", "radial_bins": 500}])


def position(session: Session, motor: str) -> float:
    return session.beamline.twin.world.axes[motor].track.positions(
        np.array([session.beamline.twin.world.clock.now_ns()])
    )[0]


def told(session: Session) -> list[str]:
    texts: list[str] = []
    session.plans.tell = texts.append
    return texts


def test_the_sample_is_found_in_the_beam_and_moved_there_only_when_told(session):
    session.RE(session.plans.mv("tom_sam_x", 0.4))
    texts = told(session)
    session.RE(session.plans.align_sample("tom_sam_x", -1.3, 1.7, 30, 0.02, signal="pilatus"))
    proposal = session.plans.proposal
    (middle, _) = proposal.quantities
    assert middle.estimate.holds(0.0)
    assert 0 < middle.estimate.sigma < 0.02
    assert position(session, "tom_sam_x") == pytest.approx(0.4, abs=1e-3)
    assert "proposed: move tom_sam_x from 0.4" in texts[0]
    assert "nothing was moved" in texts[-1]
    assert proposal.picture.stat().st_size > 10_000
    record = json.loads(proposal.picture.with_suffix(".json").read_text())
    assert record["moves"][0]["to"] == middle.estimate.value
    assert session.last_scan().start["call"]["plan"] == "align_sample"
    session.RE(session.plans.align_apply())
    assert position(session, "tom_sam_x") == pytest.approx(middle.estimate.value, abs=1e-3)
    with pytest.raises(AlignmentError, match="nothing is proposed"):
        session.RE(session.plans.align_apply())


def test_what_was_proposed_for_a_motor_given_as_the_device_itself_is_done_too(session):
    told(session)
    session.RE(session.plans.align_sample(session.beamline.motors["tom_sam_x"], -1.3, 1.7, 14, 0.02, signal="pilatus"))
    (middle, _) = session.plans.proposal.quantities
    session.RE(session.plans.align_apply())
    assert position(session, "tom_sam_x") == pytest.approx(middle.estimate.value, abs=1e-3)
    assert session.plans.proposal is None


def test_the_integral_of_the_pattern_leads_to_the_same_place(session):
    told(session)
    session.RE(session.plans.align_sample("tom_sam_x", -1.3, 1.5, 14, 0.02, signal="I0", move=True))
    assert position(session, "tom_sam_x") == pytest.approx(0.0, abs=0.05)
    assert session.plans.proposal is None


def test_a_scan_without_a_peak_is_refused_and_its_files_stay(session):
    told(session)
    session.RE(session.plans.mv("tom_sam_x", 5.0))
    with pytest.raises(AlignmentError, match="only noise"):
        session.RE(
            session.plans.align_sample("tom_sam_x", -0.3, 0.3, 20, 0.02, signal="pilatus", relative=True, move=True)
        )
    assert position(session, "tom_sam_x") == pytest.approx(5.0, abs=1e-3)
    assert session.last_scan().path.is_file()
    session.RE(session.plans.mv("tom_sam_x", 0.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signal": "diode"}, "there are orca, pilatus"),
        ({"signal": "pilatus", "region": "5:2,1:3"}, "first row, end"),
        ({"signal": "I0", "region": "1:2,1:3"}, "is no detector"),
    ],
)
def test_a_signal_that_cannot_be_read_is_refused_before_anything_moves(session, options, said):
    before = session.paths.number
    with pytest.raises((ScanError, AlignmentError), match=said):
        session.RE(session.plans.align_sample("tom_sam_x", -1, 1, 20, 0.02, **options))
    assert session.paths.number == before


def test_a_position_out_of_reach_is_refused_before_anything_moves(session):
    with pytest.raises(PreflightError, match="its limits are"):
        session.RE(session.plans.align_sample("tom_sam_x", -100, 100, 20, 0.02))


STAGE = {"units": "mm", "low_limit": -100.0, "high_limit": 300.0, "velocity": 400.0, "max_velocity": 400.0}
TRUE_ROLL_DEG, BEST_FOCUS, ENERGY_KEV = 0.4, 0.004, 35.0


@pytest.fixture(scope="module")
def tilted(session_of) -> Session:
    """A twin with a tilted axis, a camera to be focused, and a detector that can be moved along the beam."""
    motors = {f"motors.{name}.{key}": value for name in ("tom_focus", "det_z") for key, value in STAGE.items()}
    twin = {
        "axis_roll_deg": TRUE_ROLL_DEG,
        "focus_motor": "tom_focus",
        "focus_best": BEST_FOCUS,
        "focus_blur_px": 200.0,
        "distance_motor": "det_z",
    }
    return session_of(
        **{key.replace(".", "__"): value for key, value in motors.items()},
        **{f"twin__{key}": value for key, value in twin.items()},
        detectors__pilatus__distance_m=0.1,
        source__energy_kev=ENERGY_KEV,
    )


def by_name(session: Session) -> dict:
    assert session.plans.proposal is not None
    return {quantity.name: quantity.estimate for quantity in session.plans.proposal.quantities}


def test_the_rotation_axis_is_found_and_brought_to_the_middle(tilted):
    told(tilted)
    tilted.RE(tilted.plans.align_axis(0.05, motor="tom_sam_x"))
    numbers = by_name(tilted)
    middle = (96 - 1) / 2
    assert numbers["rotation axis at column"].holds(middle + 3.25)
    assert numbers["roll"].holds(TRUE_ROLL_DEG)
    assert "pitch" not in numbers
    assert any("pitch along the beam is not measurable" in text for text in tilted.plans.proposal.remarks)
    assert position(tilted, "tom_sam_x") == pytest.approx(0.0, abs=1e-4)
    prompt = Magics(tilted, Console(quiet=True))
    prompt.align_apply()
    prompt.align_axis("0.05 --no-four")
    assert by_name(tilted)["rotation axis at column"].holds(middle)
    assert tilted.plans.proposal.moves == []
    tilted.RE(tilted.plans.mv("tom_sam_x", 0.0))


def test_the_focus_is_found_and_the_camera_focused_only_when_told(tilted):
    told(tilted)
    tilted.RE(tilted.plans.align_focus("tom_focus", -0.02, 0.03, 12, 0.05, rows=2, columns=3))
    assert by_name(tilted)["focus of the middle"].holds(BEST_FOCUS)
    assert by_name(tilted)["tilt along the columns"].holds(0.0)
    assert position(tilted, "tom_focus") == pytest.approx(0.0, abs=1e-4)
    tilted.RE(tilted.plans.align_apply())
    assert position(tilted, "tom_focus") == pytest.approx(BEST_FOCUS, abs=1e-3)


def test_the_detector_is_calibrated_in_one_command_and_its_poni_written_only_when_told(tilted, tmp_path):
    told(tilted)
    out = tmp_path / "new.poni"
    tilted.RE(tilted.plans.align_detector(0.2, distance_mm=100.3, rings=8, out=str(out)))
    numbers = by_name(tilted)
    true = simulated_geometry((407, 487), 172e-6, 0.1, ENERGY_KEV)
    row, column = true.beam_centre_px()
    assert numbers["distance"].value == pytest.approx(100.0, abs=0.02)
    assert numbers["beam at row"].holds(row)
    assert numbers["column"].holds(column)
    assert not out.exists()
    assert tilted.plans.proposal.picture.stat().st_size > 10_000
    tilted.RE(tilted.plans.align_apply())
    assert geometry_of_poni(out.read_text(), (407, 487)).dist == pytest.approx(true.dist, abs=2e-5)
    before = tilted.paths.number
    with pytest.raises(ScanError, match="exists already"):
        tilted.RE(tilted.plans.align_detector(0.2, out=str(out)))
    assert tilted.paths.number == before


def test_the_energy_is_found_from_two_distances(tilted):
    told(tilted)
    tilted.RE(tilted.plans.align_energy("det_z", 0, 60, 1, 0.2, distance_mm=100.2))
    numbers = by_name(tilted)
    assert numbers["energy"].holds(ENERGY_KEV)
    assert numbers["energy"].sigma < 0.01
    assert position(tilted, "det_z") == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(ScanError, match="direction = 1"):
        tilted.RE(tilted.plans.align_energy("det_z", 0, 200, 1, 0.2, direction=-1))


@pytest.mark.parametrize(
    ("plan", "arguments", "said"),
    [
        ("align_axis", {"exp_time": 0.05, "motor": "tom_ry"}, "across the beam, in mm"),
        ("align_axis", {"exp_time": 0.05, "detector": "pilatus"}, "no imaging camera"),
        ("align_detector", {"exp_time": 0.05, "detector": "orca"}, "no counting detector"),
    ],
)
def test_what_cannot_be_aligned_is_refused_before_anything_moves(tilted, plan, arguments, said):
    before = tilted.paths.number
    with pytest.raises(ScanError, match=said):
        tilted.RE(getattr(tilted.plans, plan)(**arguments))
    assert tilted.paths.number == before


@pytest.mark.campaign
def test_a_calibration_of_frames_is_true_within_its_interval():
    """Frames whose noise differs, refined from a guess that is off."""
    config = CameraConfig(
        kind="counting", name="pilatus", width=487, height=407, pixel_size_m=172e-6, distance_m=0.1, energy_kev=35.0
    )
    source, true = PowderSource(config), simulated_geometry((407, 487), 172e-6, 0.1, 35.0)
    guess = replace(true, poni1=true.poni1 + 3e-4, dist=true.dist * 1.003)
    held = np.zeros(4, int)
    for seed in range(100):
        frame = source.frame(Gate(0, 100_000_000, seed, 0.0, 1, 0.0, 0.0, 0.0, 1.0, 0))
        found = detector_estimates(refine_geometry(frame, guess, "CeO2", source.pixel_mask > 0), "CeO2")
        estimates = (found.distance_mm, found.beam_row_px, found.beam_column_px, found.tilt_deg)
        wanted = (distance_mm(true), *true.beam_centre_px(), tilt_deg(true))
        held += [one.holds(value) for one, value in zip(estimates, wanted, strict=True)]
    assert held.min() >= 90, held
