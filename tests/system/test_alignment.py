"""Alignment on the twin: what is proposed is true within its uncertainty, and nothing moves before it is told to."""

import json

import numpy as np
import pytest

from danmax_bluesky.errors import AlignmentError, PreflightError, ScanError
from danmax_bluesky.session import Session


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
