from collections.abc import Iterator

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.calls import call_text, record_call, recorded_call
from danmax_bluesky.plans.signature import options_of_plan, positional, takes_options_of
from danmax_bluesky.plans.user import Plans, plan_names
from danmax_bluesky.tomography.scan import TomoScan

SCAN = TomoScan(scan_type="ascanct", nsteps=10, exp_time=0.1, angles="golden", npt_darks=3).model_dump(mode="json")


class Measuring:
    @record_call
    def count(
        self, num: int, *, latency: float = 0.0, sample: str | None = None, command: str | None = None
    ) -> Iterator:
        yield from bps.open_run({"shown": command})
        yield from bps.close_run()


def start_of(plan):
    documents = []
    RunEngine({})(plan, lambda name, doc: documents.append(doc))
    return documents[0]


def test_a_run_says_how_its_plan_was_called():
    start = start_of(Measuring().count(3, sample="bone"))
    assert start["shown"] == "count(3)"
    assert start["call"] == {"plan": "count", "num": 3, "latency": 0.0}
    assert recorded_call(start) == ("count", {"num": 3, "latency": 0.0})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((1,), {"latancy": 2}, r"latancy = 2: count has no such parameter; did you mean 'latency'"),
        ((), {}, r"count: missing a required argument: 'num'; it takes num, latency, sample, command"),
        ((1, 2), {}, r"count: too many positional arguments; it takes num"),
    ],
)
def test_a_wrong_call_is_answered_before_it_runs(args, kwargs, said):
    with pytest.raises(ScanError, match=said):
        Measuring().count(*args, **kwargs)


def test_a_call_is_written_as_python_has_it():
    assert call_text("tomo_scan", ("ascanct", 0), {"turns": 2, "sample": "bone", "dry_run": True}) == (
        "tomo_scan('ascanct', 0, turns=2)"
    )


def test_the_parameters_of_a_tomography_stand_in_its_scan_and_are_not_repeated():
    name, call = recorded_call({"plan_name": "tomo_scan", "call": {"plan": "tomo_scan"}, "scan": SCAN})
    assert (name, call.pop("configurator")) == ("tomo_scan", False)
    assert TomoScan(**call) == TomoScan.model_validate(SCAN)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({"plan_name": "tomo_scan", "scan": {"nsteps": 2, "npt_darks": None}}, ("tomo_scan", {"nsteps": 2})),
        ({"call": {"plan": "ct", "exposure_s": 0.5}}, ("ct", {"exp_time": 0.5})),
        ({"call": {"plan": "ascan", "motor": "x", "exposure_s": 1.0}}, ("ascan", {"motor": "x", "exp_time": 1.0})),
        ({"call": {"plan": "mesh", "slow": "y", "fast": "x"}}, ("mesh", {"slow": "y", "fast": "x"})),
        ({"call": {"plan": "azint_count", "num": 1, "exp_time": 1.0}}, ("azint_count", {"num": 1, "exp_time": 1.0})),
        ({"plan_name": "count"}, ("", {})),
    ],
)
def test_calls_that_earlier_versions_recorded_can_be_read(start, expected):
    name, call = recorded_call(start)
    call.pop("configurator", None)
    assert (name, call) == expected


def test_a_plan_that_passes_options_on_has_their_names_types_and_help():
    @takes_options_of(TomoScan)
    def plan(scan_type: str, *, sample: str = "", **parameters: object) -> None:
        """Measure.

        Args:
            sample: its name.
            parameters: any other.
        """

    options = {option.name: option for option in options_of_plan(plan)}
    assert set(options) == {*TomoScan.model_fields, "sample"}
    assert options["exp_time"].about.unit == "s"
    assert (options["sample"].help, options["sample"].default) == ("its name.", "")
    assert (
        "    turns: how often the range is passed (1 to 100000; for ascan, ascanct, dscan, dscanct).\n" in plan.__doc__
    )


@pytest.mark.parametrize("name", plan_names())
def test_every_plan_says_what_each_of_its_arguments_is(name):
    for option in options_of_plan(getattr(Plans, name)):
        assert option.help, option.name


def test_the_words_of_sardana_are_plans():
    assert {"ct", "ascan", "dscan", "mesh", "mv", "umv", "mvr", "wa", "wm"} <= set(plan_names())


def test_a_mesh_takes_the_fast_motor_first_as_sardana_does():
    order = [name for name, _ in positional(Plans.mesh)]
    assert order == [
        *("fast", "fast_start", "fast_end", "fast_intervals"),
        *("slow", "slow_start", "slow_end", "slow_intervals"),
        "exp_time",
    ]
