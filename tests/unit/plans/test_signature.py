"""What several plans take is described once, and stands in each of them."""

import inspect
from collections.abc import Iterator
from typing import Unpack, get_type_hints

import pytest

from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans import parameters
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import Exposure, Motor, RunOptions
from danmax_bluesky.plans.signature import options_of_plan
from danmax_bluesky.plans.user import Plans, plan_names
from danmax_bluesky.plans.user_devices import UserMotor
from danmax_bluesky.shell.magics import WORDS
from danmax_bluesky.shell.queue import _annotation

DEVICES = {"Motors": ["tom_ry"], "Detectors": ["orca"]}


class Measuring:
    @record_call
    def wobble(self, motor: Motor, exp_time: Exposure = 1.0, **run: Unpack[RunOptions]) -> Iterator:
        """Wobble a motor: `wobble("tom_sam_x")`.

        Args:
            motor: what wobbles.

        Raises:
            ScanError: it does not wobble.
        """
        yield run


def test_a_plan_takes_by_name_what_every_plan_takes_and_its_docstring_says_so():
    assert list(inspect.signature(Measuring().wobble).parameters) == ["motor", "exp_time", "sample", "command", "md"]
    with pytest.raises(ScanError, match="smaple = 'bone': wobble has no such parameter; did you mean 'sample'"):
        Measuring().wobble("tom_sam_x", smaple="bone")
    assert inspect.getdoc(Measuring.wobble) == (
        'Wobble a motor: `wobble("tom_sam_x")`.\n'
        "\n"
        "Args:\n"
        "    motor: what wobbles.\n"
        "    exp_time: exposure (s; 1e-06 to 4000).\n"
        "    sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.\n"
        "    command: as it was typed; None takes the text of this call.\n"
        "    md: what else the start document says, beside `RE.md`.\n"
        "\n"
        "Raises:\n"
        "    ScanError: it does not wobble."
    )


def test_the_signature_says_where_a_plan_takes_devices_or_their_names():
    assert get_type_hints(Plans.ascan)["motor"] == str | MotorDevice | UserMotor
    assert get_type_hints(Plans.meshct)["fast"] == str | MotorDevice
    assert "Annotated" not in str(inspect.signature(Plans.azint_scan))


@pytest.mark.parametrize("name", plan_names())
def test_what_is_a_device_is_chosen_from_a_list_in_the_form_of_a_queue(name):
    for option in options_of_plan(getattr(Plans, name)):
        annotation = _annotation(option, DEVICES, False)
        if option.name in ("motor", "fast", "slow", "first", "second", "rot_mot", "motors"):
            assert annotation["enums"] == {"Motors": ["tom_ry"]}, option.name
        if option.name in ("detector", "detectors", "tomo_det"):
            assert annotation["enums"] == {"Detectors": ["orca"]}, option.name


def test_every_plan_is_a_word_at_the_prompt():
    assert {*plan_names()} - {"tomo_scan"} <= set(WORDS)


def test_only_what_several_plans_take_is_described_beside_them():
    described = {name for name, value in vars(parameters).items() if hasattr(value, "__metadata__")}
    used = "".join(inspect.getsource(cls) for cls in Plans.__mro__ if cls is not object)
    used += inspect.getsource(RunOptions)
    assert {name for name in described if f": {name}" not in used} == set()
