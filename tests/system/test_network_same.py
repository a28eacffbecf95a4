"""Tests of the tomography scan themselves, over Tango and PVAccess: those that ask nothing of the twin behind it.

One twin serves them all. `pytest -m campaign tests/system/test_network_same.py` runs those that take longer.
"""

import importlib.util
from pathlib import Path

import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.testing.servers import ServerProcess

pytest.importorskip("tango")
pytest.importorskip("p4p")

pytestmark = pytest.mark.real_server

SMALL = {
    "detectors.orca.width": 96,
    "detectors.orca.height": 32,
    "detectors.pilatus.width": 487,
    "detectors.pilatus.height": 407,
    "formats.integrate": False,
    "formats.reconstruct": False,
    "catalog.kind": "off",
    "sample": "bone",
    "motors.tom_ry.velocity": 720,
    "motors.tom_sam_x.velocity": 400,
    "motors.tom_sam_x.max_velocity": 400,
    "motors.tom_sam_x.acceleration_time": 0.02,
}
ALWAYS = (
    "the_steps_come_in_their_order_and_carry_their_labels",
    "step_9_makes_a_dxchange_file",
    "step_10_rotates_back_to_the_start",
    "relative_scans_count_from_where_rotation_stands_and_return_exactly",
    "n_intervals_give_n_plus_1_projections",
    "flag_and_options_must_not_contradict_each_other",
    "a_rotation_motor_without_encoder_is_refused",
    "a_position_that_does_not_exist_is_told_before_anything_moves",
)
IN_A_CAMPAIGN = (
    "scan_start_and_end_may_fall",
    "the_detector_may_be_named",
    "each_digit_of_fields_flag_asks_for_one_thing",
    "what_is_not_named_is_what_the_last_scan_used_and_is_told",
    "every_position_may_be_a_trigger_of_its_own",
    "the_same_value_gives_the_same_frame_table_and_runs_again_from_the_start_document",
    "a_file_that_exists_is_left_alone",
)


def _tests_of_the_scan():
    spec = importlib.util.spec_from_file_location("over_the_network", Path(__file__).with_name("test_tomo_scan.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


in_process = _tests_of_the_scan()
complete = in_process.complete  # one scan with everything, over the network too
for name in ALWAYS:
    globals()[f"test_{name}"] = getattr(in_process, f"test_{name}")
for name in IN_A_CAMPAIGN:
    globals()[f"test_{name}"] = pytest.mark.campaign(getattr(in_process, f"test_{name}"))


@pytest.fixture(scope="module")
def module_session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    file = folder / "twin.toml"
    assignments = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    with (
        ServerProcess(["twin", "--write-settings", str(file), *assignments]),
        make_session(load_settings(file, {**SMALL, "data_root": str(folder / "data")})) as session,
    ):
        yield session


@pytest.fixture
def session(module_session):
    in_process.move(module_session, tom_ry=0.0)
    yield module_session
    module_session.plans.configurator.reset()
