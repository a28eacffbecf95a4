import pytest

from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.guards import StallWatch


def test_a_camera_that_writes_nothing_while_triggers_go_on_is_stalled():
    watch = StallWatch(patience_s=2.0)
    watch.look("orca", sent=10, written=9, now_s=0.0)
    for now_s in (1.0, 2.0, 3.0):
        watch.look("orca", sent=20, written=9, now_s=now_s)
    with pytest.raises(
        AcquisitionError, match=r"orca stalled: 9 frames, and none for 2\.5 s .* from 10 to 30 triggers"
    ):
        watch.look("orca", sent=30, written=9, now_s=3.5)


def test_a_frame_is_overdue_only_since_its_trigger():
    """Between two triggers of a step scan a motor may move for as long as it likes."""
    watch = StallWatch(patience_s=2.0)
    watch.look("orca", sent=72, written=72, now_s=0.0)
    watch.look("orca", sent=73, written=72, now_s=60.0)
    watch.look("orca", sent=73, written=73, now_s=61.0)
    watch.look("orca", sent=74, written=73, now_s=120.0)
    watch.look("orca", sent=74, written=73, now_s=121.9)
    with pytest.raises(AcquisitionError, match=r"none for 2\.1 s"):
        watch.look("orca", sent=77, written=73, now_s=122.1)


def test_a_few_frames_that_are_lost_in_a_slow_scan_are_no_stall():
    watch = StallWatch(patience_s=2.0)
    for number in range(3):
        watch.look("orca", sent=10 + number, written=10, now_s=10.0 * number)
    watch.look("orca", sent=13, written=11, now_s=30.0)
    for number in range(4):
        watch.look("orca", sent=13 + number, written=11, now_s=40.0 + 10 * number)
    with pytest.raises(AcquisitionError, match="from 13 to 17 triggers"):
        watch.look("orca", sent=17, written=11, now_s=80.0)


def test_cameras_are_watched_each_by_itself():
    watch = StallWatch(patience_s=1.0)
    for now_s in (0.0, 1.0, 2.0):
        watch.look("zyla", sent=int(now_s) + 1, written=int(now_s) + 1, now_s=now_s)
        watch.look("orca", sent=5, written=5, now_s=now_s)
    watch.look("orca", sent=9, written=5, now_s=3.0)
    with pytest.raises(AcquisitionError, match="orca"):
        watch.look("orca", sent=9, written=5, now_s=5.0)
