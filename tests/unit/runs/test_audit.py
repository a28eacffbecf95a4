import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from danmax_bluesky.runs.audit import audit_phase


def test_three_counts_that_agree_need_no_word():
    audit = audit_phase("proj", 5, sent=5, written=5, frame_numbers=range(40, 45), first_number=40)
    assert audit.is_complete
    assert audit.trigger_index == (0, 1, 2, 3, 4)


def test_the_lost_frame_is_named_whichever_it_was():
    for lost in (0, 2, 4):
        numbers = np.delete(np.arange(40, 45), lost)
        audit = audit_phase("proj", 5, sent=5, written=4, frame_numbers=numbers, first_number=40, detector="orca")
        assert audit.lost == (lost,)
        assert audit.trigger_index == tuple(np.delete(np.arange(5), lost))
        assert audit.message == f"proj: orca lost 1 of 5 frames: {lost}"
        assert not audit.is_complete


def test_without_a_counter_only_the_number_is_claimed():
    audit = audit_phase("proj", 5, sent=5, written=4, detector="orca")
    assert (audit.lost, audit.uncertain) == ((), True)
    assert "orca wrote 4 frames for 5 triggers" in audit.message
    assert "uncertain" in audit.message
    assert audit_phase("proj", 5, sent=5, written=5).is_complete


def test_triggers_that_were_never_sent_are_not_the_cameras_fault():
    audit = audit_phase("proj", 100, sent=33, written=33, frame_numbers=range(33), detector="orca")
    assert (audit.lost, audit.message) == ((), "proj: the PandA sent 33 of 100 triggers")
    assert not audit.is_complete


def test_a_late_or_repeated_frame_is_extra():
    audit = audit_phase("proj", 3, sent=3, written=5, frame_numbers=[9, 10, 11, 11, 12], first_number=10)
    assert audit.extra == (0, 3)
    assert audit.trigger_index == (-1, 0, 1, -1, 2)
    assert "rows 0, 3" in audit.message


def test_many_losses_are_told_in_short():
    audit = audit_phase("proj", 100, sent=100, written=50, frame_numbers=range(0, 100, 2), detector="orca")
    assert audit.message.endswith("frames: 1, 3, 5, 7, 9, 11, 13, 15, ...")
    block = audit_phase("proj", 100, sent=100, written=50, frame_numbers=range(50), detector="orca")
    assert block.message.endswith("frames: 50-99")


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.integers(0, 10**9))
def test_every_set_of_losses_is_found_and_every_other_frame_keeps_its_trigger(planned, gone, first):
    kept = [index for index in range(planned) if index not in gone]
    audit = audit_phase(
        "proj",
        planned,
        sent=planned,
        written=len(kept),
        frame_numbers=np.array(kept, np.uint32) + np.uint32(first),
        first_number=first,
    )
    assert audit.trigger_index == tuple(kept)
    assert audit.lost == tuple(index for index in range(planned) if index in gone)
    assert audit.extra == ()
