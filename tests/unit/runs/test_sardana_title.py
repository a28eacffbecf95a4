import numpy as np
import pytest

from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.sardana_title import sardana_title
from danmax_bluesky.runs.segments import Segment
from danmax_bluesky.tomography.scan import TomoScan


def start(**more):
    return {"uid": "u", "time": 0.0, "rotation": {"motor": "tom_ry"}, **more}


def planned(num, exposure_s=0.5, **more):
    return [{"name": "primary", "kind": "data", "num": num, "exposure_s": exposure_s, **more}]


def called(plan, num, exposure_s=0.5, **arguments):
    return start(call={"plan": plan, **arguments}, segments=planned(num, exposure_s))


def tomography(kind, nsteps=1800, exp_time=0.01, **more):
    scan = TomoScan(scan_type=kind, nsteps=nsteps, exp_time=exp_time, **more)
    return start(plan_name="tomo_scan", scan=scan.model_dump(mode="json"))


TITLES = {
    "timescan 9 0.5 0.0": called("azint_count", 10, latency=0.0),
    "timescan 9 0.5 0.25": called("azint_count", 10, latency=0.25),
    "timescan 0 0.5 0.0": called("ct", 1),
    "ascan tom_sam_x -1.0 1.0 4 0.5": called("ascan", 5, motor="tom_sam_x", start=-1, end=1, nsteps=4),
    "dscan tom_sam_x -1.0 1.0 4 0.5": called("dscan", 5, motor="tom_sam_x", start=-1, end=1, nsteps=4),
    "dscan tom_sam_y 0.0 2.0 4 0.5": called("azint_scan", 5, motor="tom_sam_y", start=0, end=2, relative=True),
    "ascanct tom_ry 0.0 18.0 9 0.00001 0.0": called(
        "azint_scan", 10, 1e-5, motor="tom_ry", start=0, end=18, continuous=True
    ),
    "dscanct tom_ry 0.0 18.0 9 0.5 0.0": called(
        "azint_scan", 10, motor="tom_ry", start=0, end=18, relative=True, continuous=True
    ),
    "mesh tom_sam_x -0.3 0.3 2 tom_sam_y 0.0 0.2 1 0.05": start(
        motors=["tom_sam_y", "tom_sam_x"], shape=[2, 3], extents=[[0, 0.2], [-0.3, 0.3]], segments=planned(6, 0.05)
    ),
    "meshct x -0.3 0.3 2 y 0.0 0.2 1 0.01": start(
        plan_name="meshct", motors=["y", "x"], shape=[2, 3], extents=[[0, 0.2], [-0.3, 0.3]], segments=planned(6, 0.01)
    ),
    "dmesh x -0.3 0.3 2 y 0.0 0.2 1 0.0": start(
        plan_name="rel_grid_scan", motors=["y", "x"], shape=[2, 3], extents=[[0, 0.2], [-0.3, 0.3]]
    ),
    "ascanct tom_ry 0.0 180.0 1800 0.01 0.0": tomography("ascanct"),
    "dscanct tom_ry -90.0 90.0 360 0.02 0.005": tomography(
        "dscanct", 360, 0.02, scan_start=-90, scan_end=90, latency=0.005
    ),
    "ascan tom_ry 0.0 180.0 1800 0.01": tomography("ascan"),
    "timescan 99 0.01 0.0": tomography("timescan", 99),
    "ascan tom_sam_x -1.0 1.0 4 0.0": start(
        plan_name="scan",
        motors=["tom_sam_x"],
        num_points=5,
        plan_pattern="inner_product",
        plan_pattern_args={"num": 5, "args": ["Motor(...)", -1, 1]},
    ),
    "timescan 3 0.0 0.0": start(plan_name="count", num_points=4),
}


@pytest.mark.parametrize("title", TITLES)
def test_a_title_has_the_words_of_sardana(title):
    assert sardana_title(RunRecord(TITLES[title])) == title


@pytest.mark.parametrize("title", TITLES)
def test_every_word_with_letters_after_the_first_is_a_motor(title):
    motors = [word for word in title.split()[1:] if any(letter.isalpha() for letter in word)]
    assert set(motors) <= {"tom_ry", "tom_sam_x", "tom_sam_y", "x", "y"}


def test_a_series_that_ended_early_tells_how_far_it_came():
    told = start(call={"plan": "azint_count", "num": 100}, segments=planned(100, may_end_early=True))
    there = Segment("primary", "data", 100, planned(100)[0], times=(1.0, 2.0, 3.0))
    assert sardana_title(RunRecord(told, segments=(there,))) == "timescan 99 0.5 0.0"
    ended = RunRecord(told, stop={"exit_status": "success", "time": 1.0}, segments=(there,))
    assert sardana_title(ended) == "timescan 2 0.5 0.0"


def test_a_plan_of_ones_own_is_told_by_where_its_motors_were():
    columns = {"x": np.array([0.1, 0.2, 0.30000001]), "y": np.array([5.0, 5.0, 4.0])}
    there = Segment("primary", "data", None, columns=columns, times=(1.0, 2.0, 3.0))
    assert sardana_title(RunRecord(start(motors=["x"]), segments=(there,))) == "ascan x 0.1 0.3 2 0.0"
    assert sardana_title(RunRecord(start(motors=["x", "y"]), segments=(there,))) == "a2scan x 0.1 0.3 y 5.0 4.0 2 0.0"


def test_a_tomography_of_ones_own_is_told_by_its_angles():
    sweep = {"name": "proj", "kind": "projection", "num": 91, "exposure_s": 0.1, "motion": "sweep"}
    sweep |= {"first_deg": 0.0, "last_deg": 180.0}
    run = RunRecord(start(motors=["tom_ry"]), segments=(Segment("proj", "projection", 91, sweep, times=()),))
    assert sardana_title(run) == "ascanct tom_ry 0.0 180.0 90 0.1 0.0"


@pytest.mark.parametrize(
    "nonsense", [{"scan": {"scan_type": "ascan", "nsteps": "n", "exp_time": 1}}, {"segments": [{}]}, {"call": ["mesh"]}]
)
def test_a_document_that_makes_no_sense_gets_the_name_of_its_plan(nonsense):
    assert sardana_title(RunRecord(start(plan_name="mine", **nonsense))) == "mine"
