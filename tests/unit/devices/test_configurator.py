import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp

from danmax_bluesky.devices.configurator import (
    BY_NAME,
    PARAMETERS,
    ConfiguratorStore,
    ParameterError,
    make_configurator,
    scan_arguments,
)
from danmax_bluesky.errors import ScanError, StorageError
from danmax_bluesky.tomography.parameters import values_of
from danmax_bluesky.tomography.scan import FIELDS, TomoScan


@pytest.fixture
def store(tmp_path):
    return ConfiguratorStore(tmp_path / ".danmax" / "configurator.json")


def test_without_a_file_everything_is_at_its_default(store):
    assert store.read() == {known.name: known.default for known in BY_NAME.values()}
    assert not store.path.exists()


def test_every_default_may_be_set(store):
    assert store.update({known.name: known.default for known in BY_NAME.values()}) == store.read()


def test_every_parameter_of_the_request_is_there():
    asked = "scan_type rot_mot scan_start scan_end nsteps exp_time latency npt_fields tomo_det posflat condition"
    assert set(asked.split()) | {"tori_name", "center", "fields_flag"} <= {known.name for known in PARAMETERS}


def test_every_number_has_a_description_and_every_duration_a_unit():
    assert all(known.description for known in BY_NAME.values())
    assert BY_NAME["exp_time"].units == BY_NAME["elapsed"].units == "s"


def test_a_value_survives_the_process_that_set_it(store):
    program = (
        "import sys; from pathlib import Path;"
        "from danmax_bluesky.devices.configurator_store import ConfiguratorStore;"
        "ConfiguratorStore(Path(sys.argv[1])).set('exp_time', 0.25)"
    )
    subprocess.run([sys.executable, "-c", program, str(store.path)], check=True)
    assert store.get("exp_time") == 0.25
    assert store.entry("exp_time").time > 0


def test_the_defaults_are_a_scan(store):
    scan = TomoScan(**scan_arguments(store.scan_parameters(), {}))
    assert (scan.nsteps, scan.fields_flag, scan.n_darks, scan.flat_exposure_s) == (1800, "111111", 20, 0.01)


def test_every_number_of_a_scan_can_be_kept():
    composed = {"helical", "places"} | set(FIELDS)
    kept = {known.name for known in PARAMETERS}
    assert set(TomoScan.model_fields) - composed <= kept
    assert kept - set(TomoScan.model_fields) == {"flat_rotate", "condition_stable", "helical_motor", "helical_pitch_mm"}


def test_what_is_given_wins_over_what_was_kept(store):
    store.update({"exp_time": 0.5, "npt_darks": 3, "fields_flag": "100000", "tomo_det": "orca zyla"})
    scan = TomoScan(**scan_arguments(store.scan_parameters(), {"exp_time": 0.25, "get_flat": True}))
    assert (scan.exp_time, scan.n_darks, scan.n_flats, scan.fields_flag) == (0.25, 3, 20, "110000")
    assert scan.tomo_det == ("orca", "zyla")
    assert TomoScan(**scan_arguments(store.scan_parameters(), {"fields_flag": "000001"})).fields_flag == "000001"
    listed = TomoScan(**scan_arguments(store.scan_parameters(), {"angles": [0.0, 1.0, 5.0]}))
    assert listed.n_projections == 3


def test_a_number_of_fields_that_is_given_holds_for_darks_and_flats(store):
    store.update({"npt_darks": 7, "npt_flats": 9})
    scan = TomoScan(**scan_arguments(store.scan_parameters(), {"npt_fields": 3, "npt_flats": 4}))
    assert (scan.n_darks, scan.n_flats) == (3, 4)


def test_the_number_of_fields_that_is_set_after_a_scan_counts(store):
    scan = TomoScan(**scan_arguments(store.scan_parameters(), {"npt_fields": 5, "npt_flats": 7}))
    store.update(values_of(scan))
    assert (store.get("npt_darks"), store.get("npt_flats")) == (-1, 7)
    store.update({"npt_fields": 30})
    again = TomoScan(**scan_arguments(store.scan_parameters(), {}))
    assert (again.n_darks, again.n_flats) == (30, 7)
    store.update(
        values_of(TomoScan(**scan_arguments(store.scan_parameters(), {"npt_fields": 0, "fields_flag": "0" * 6})))
    )
    darks = TomoScan(**scan_arguments(store.scan_parameters(), {"get_dark": True}))
    assert (darks.get_dark, darks.n_darks) == (True, 20)


@pytest.mark.parametrize(
    "between",
    [
        {"scan_type": "timescan", "velocity_deg_s": 3.0},
        {"scan_type": "ascan", "angles": [0.0, 1.0, 5.0]},
        {"scan_type": "ascan", "angles": [0.0, 1.0, 5.0], "turns": 2, "back_and_forth": True},
    ],
)
def test_a_scan_leaves_what_belongs_to_other_scans_as_it_is(store, between):
    interlaced = {"angles": "interlaced", "turns": 3, "every_position": True, "helical_motor": "tom_sam_y"}
    store.update({**interlaced, "helical_pitch_mm": 0.5, "velocity_deg_s": 7.0})
    store.update(values_of(TomoScan(**scan_arguments(store.scan_parameters(), between))))
    assert {name: store.get(name) for name in interlaced} == interlaced
    assert store.get("velocity_deg_s") == between.get("velocity_deg_s", 7.0)
    again = TomoScan(**scan_arguments(store.scan_parameters(), {"scan_type": "ascanct"}))
    assert (again.angles.kind, again.turns, again.every_position) == ("interlaced", 3, True)
    bare = TomoScan(**scan_arguments(store.scan_parameters(), {}))
    assert bare.scan_type == between["scan_type"]


def test_what_was_just_asked_beats_what_is_remembered(store):
    store.update({"fields_flag": "000000", "flats_every": 10, "npt_darks": 0})
    asked = TomoScan(**scan_arguments(store.scan_parameters(), {"npt_darks": 1, "npt_flats": 0}))
    assert (asked.get_dark, asked.n_darks, asked.get_flat, asked.flats_every) == (True, 1, False, 0)
    darks = TomoScan(**scan_arguments(store.scan_parameters(), {"get_dark": True, "npt_flats": 3}))
    assert (darks.get_dark, darks.n_darks, darks.get_flat) == (True, 20, True)
    store.update({"fields_flag": "111111", "npt_darks": 5, "flats_every": 0})
    none = TomoScan(**scan_arguments(store.scan_parameters(), {"npt_darks": 0}))
    assert (none.get_dark, none.get_dark_after) == (False, False)


def test_a_contradiction_in_what_was_just_asked_is_said(store):
    store.update({"fields_flag": "000000"})
    with pytest.raises(
        ScanError, match="npt_darks = 1 asks for darks, but get_dark = False and get_dark_after = False"
    ):
        scan_arguments(store.scan_parameters(), {"npt_darks": 1, "get_dark": False})


def test_switches_choose_what_a_number_alone_cannot_say(store):
    store.update({"flat_rotate": True, "flat_angle_deg": 90.0, "condition_stable": True})
    store.update({"helical_motor": "tom_sam_y", "helical_pitch_mm": 0.5, "flat_exp_time": 0.02})
    scan = TomoScan(**scan_arguments(store.scan_parameters(), {}))
    assert (scan.flat_angle_deg, scan.condition, scan.flat_exposure_s) == (90.0, "stable", 0.02)
    assert scan.helical is not None
    assert (scan.helical.motor, scan.helical.pitch_mm) == ("tom_sam_y", 0.5)


def test_a_link_where_its_lock_belongs_is_refused_and_leads_to_nothing_lost(store, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    store.set("nsteps", 4)
    lock = store.path.with_name(f"{store.path.name}.lock")
    lock.unlink(missing_ok=True)
    lock.symlink_to(precious)
    with pytest.raises(StorageError, match=r"configurator\.json\.lock is a link, .*; remove it"):
        store.set("nsteps", 5)
    assert (precious.read_text(), store.get("nsteps")) == ("precious", 4)
    lock.unlink()
    store.set("nsteps", 5)
    assert store.get("nsteps") == 5


def test_two_processes_lose_no_value_of_each_other(store):
    program = (
        "import os, sys; from pathlib import Path;"
        "from danmax_bluesky.devices.configurator_store import ConfiguratorStore;"
        "other = os.fork();"  # from here on two processes, at the same moment
        "store = ConfiguratorStore(Path(sys.argv[1]));"
        "[store.set(sys.argv[3 if other else 2], n) for n in range(1, 51)];"
        "sys.exit(other and os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))"
    )
    names = ("nsteps", "npt_fields")
    writers = subprocess.Popen([sys.executable, "-c", program, store.path, *names])
    while writers.poll() is None:
        store.read()
    assert writers.returncode == 0
    assert [store.get(name) for name in names] == [50, 50]
    assert [path.name for path in store.path.parent.glob(".configurator*")] == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("exp_time", -1.0, "exp_time = -1 s is below its limit of 1e-06 s"),
        ("exp_time", float("nan"), "finite"),
        ("nsteps", -1, "below its limit of 0"),
        ("nsteps", 1.5, "not a int"),
        ("nsteps", True, "bool"),
        ("nsteps", "10", "str"),
        ("scan_type", "zigzag", "'ascan', 'ascanct', 'dscan', 'dscanct', 'timescan'"),
        ("fields_flag", "11", "6 digits"),
        ("fields_flag", "111112", "6 digits"),
        ("progress", 101.0, "above its limit of 100 percent"),
        ("exptime", 1.0, "did you mean 'exp_time'"),
    ],
)
def test_what_may_not_be_is_told_and_changes_nothing(store, name, value, told):
    with pytest.raises(ParameterError, match=told) as caught:
        store.update({"latency": 0.5, name: value})
    assert isinstance(caught.value, ScanError)
    assert store.get("latency") == 0.0


def test_numbers_become_the_parameters_type(store):
    store.update({"exp_time": 1, "nsteps": np.int64(7), "scan_end": np.float32(90)})
    assert [type(store.get(name)) for name in ("exp_time", "nsteps", "scan_end")] == [float, int, float]


def test_reset_gives_the_defaults_but_keeps_the_records(store):
    store.update({"exp_time": 1.0, "latency": 2.0, "dark_file": "scan-0001_orca.h5::/entry/data[0:20]"})
    store.reset("latency")
    assert (store.get("exp_time"), store.get("latency")) == (1.0, 0.0)
    store.reset()
    assert (store.get("exp_time"), store.get("dark_file")) == (0.01, "scan-0001_orca.h5::/entry/data[0:20]")


def test_the_inputs_of_a_scan_have_no_records(store):
    assert set(store.scan_parameters()) == {known.name for known in PARAMETERS}


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}', '{"format": "danmax configurator 1"}'])
def test_a_damaged_file_is_told_and_left_alone(store, content):
    store.path.parent.mkdir()
    store.path.write_text(content)
    for action in (store.read, lambda: store.set("exp_time", 1.0)):
        with pytest.raises(StorageError, match=r"configurator\.json are damaged.*move the file away"):
            action()
    assert store.path.read_text() == content


def test_a_value_edited_by_hand_is_checked_and_can_be_set_right(store):
    store.set("exp_time", 1.0)
    content = json.loads(store.path.read_text())
    content["values"]["exp_time"]["value"] = -5
    store.path.write_text(json.dumps(content))
    with pytest.raises(ParameterError, match=r"configurator\.json: exp_time = -5 s is below"):
        store.read()
    store.set("exp_time", 2.0)
    assert store.get("exp_time") == 2.0


def test_names_of_a_later_version_are_kept(store):
    store.set("exp_time", 1.0)
    content = json.loads(store.path.read_text())
    content["values"]["invented_later"] = {"value": 3, "time": 1.0}
    store.path.write_text(json.dumps(content))
    store.set("latency", 1.0)
    assert "invented_later" not in store.read()
    assert "invented_later" in json.loads(store.path.read_text())["values"]


async def test_the_device_tells_units_limits_and_choices(store):
    device = make_configurator(store)
    await device.connect()
    keys = await device.describe()
    assert keys["configurator-exp_time"]["units"] == "s"
    assert keys["configurator-exp_time"]["limits"] == {"control": {"low": 1e-6, "high": 4000.0}}
    assert keys["configurator-scan_type"]["choices"] == ["ascan", "ascanct", "dscan", "dscanct", "timescan"]
    assert keys["configurator-nsteps"]["dtype"] == "integer"
    assert set(keys) == set(await device.read()) == {f"configurator-{name}" for name in BY_NAME}


async def test_a_signal_writes_the_file_and_refuses_what_may_not_be(store):
    device = make_configurator(store)
    await device.connect()
    await device["exp_time"].set(0.5)
    assert store.get("exp_time") == 0.5
    assert (await device.scan_parameters())["exp_time"] == 0.5
    with pytest.raises(ParameterError, match="below"):
        await device["exp_time"].set(-1.0)
    with pytest.raises(ParameterError, match="no scan parameter"):
        device["exptime"]


async def test_a_subscription_sees_what_another_program_sets(store):
    device = make_configurator(store)
    await device.connect()
    seen: asyncio.Queue[float] = asyncio.Queue()

    def remember(reading):
        seen.put_nowait(reading["configurator-exp_time"]["value"])

    device["exp_time"].subscribe_reading(remember)
    assert await seen.get() == 0.01
    store.set("exp_time", 0.75)
    assert await seen.get() == 0.75
    device["exp_time"].clear_sub(remember)


def test_a_plan_sets_and_records_it(store):
    engine = RunEngine({})
    device = make_configurator(store)
    documents = []

    def plan():
        yield from bps.wait_for([device.connect])
        yield from bps.mv(device["scan_end"], 90.0, device["white_file"], "scan-0001_orca.h5::/entry/data[20:40]")
        yield from bp.count([device])

    engine(plan(), lambda name, doc: documents.append((name, doc)))
    data = next(doc["data"] for name, doc in documents if name == "event")
    assert (data["configurator-scan_end"], data["configurator-white_file"][-7:]) == (90.0, "[20:40]")
    assert store.get("scan_end") == 90.0


def test_a_link_in_the_place_of_the_lock_is_named_and_not_followed(store, tmp_path):
    (tmp_path / "precious").write_text("precious")
    store.path.parent.mkdir()
    lock = store.path.with_name("configurator.json.lock")
    lock.symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match=r"configurator\.json\.lock is a link, .* remove it"):
        store.set("nsteps", 5)
    assert (tmp_path / "precious").read_text() == "precious"
    lock.unlink()
    assert store.set("nsteps", 5) == 5
    assert store.path.stat().st_mode & 0o777 == 0o664
