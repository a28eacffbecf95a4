import asyncio
import math

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky import preprocessors as bpp

from danmax_bluesky.config import SnapshotSettings
from danmax_bluesky.devices.snapshot import Recorded, Snapshot, Tolerated
from danmax_bluesky.errors import DeviceError


def answering(value, units=""):
    async def read():
        return Recorded(value, units, 5.0)

    return read


async def refusing():
    raise DeviceError("tango://x/y/z does not answer")


ENTRIES = {
    "ea_ppm3_1": SnapshotSettings(address="a/b/c/Position"),
    "hdcm_energy": SnapshotSettings(address="a/b/d/Energy", units="eV"),
    "Spinner moving": SnapshotSettings(address="a/b/e/State"),
    "mlm_energy": SnapshotSettings(address=""),
}
GAP = {"IVU_R3_304_GAP": SnapshotSettings(address="a/b/f/Gap", units="mm")}


async def test_values_bear_their_names_and_units():
    snapshot = Snapshot(
        ENTRIES,
        {"ea_ppm3_1": answering(1.5, "mm"), "hdcm_energy": answering(2e4), "Spinner moving": answering("MOVING")},
    )
    keys, readings = await snapshot.describe(), await snapshot.read()
    assert (keys["ea_ppm3_1"]["units"], keys["hdcm_energy"]["units"]) == ("mm", "eV")
    assert (keys["Spinner moving"]["dtype"], keys["hdcm_energy"]["dtype"]) == ("string", "number")
    assert readings["ea_ppm3_1"] == {"value": 1.5, "timestamp": 5.0, "alarm_severity": 0}
    assert readings["Spinner moving"]["value"] == "MOVING"
    assert set(keys) == set(readings)


async def test_what_a_device_says_of_its_units_counts_more_than_the_settings():
    snapshot = Snapshot(GAP, {"IVU_R3_304_GAP": answering(6500.0, "um")})
    assert (await snapshot.describe())["IVU_R3_304_GAP"]["units"] == "um"


async def test_many_values_of_one_silent_device_are_told_in_one_line(caplog):
    names = [f"hex_{number}" for number in range(9)]
    snapshot = Snapshot({name: SnapshotSettings(address="a/b/c/X") for name in names}, dict.fromkeys(names, refusing))
    await snapshot.read()
    (line,) = caplog.messages
    assert line.startswith("missing in the snapshot: hex_0, hex_1, hex_2, hex_3, hex_4 and 4 more: tango://x/y/z does")


async def test_what_does_not_answer_is_missing_and_named():
    snapshot = Snapshot(ENTRIES, {"ea_ppm3_1": answering(1.5), "hdcm_energy": refusing})
    await snapshot.describe()
    readings = await snapshot.read()
    assert math.isnan(readings["hdcm_energy"]["value"])
    assert readings["ea_ppm3_1"]["value"] == 1.5
    assert readings["snapshot_missing"]["value"] == "hdcm_energy, Spinner moving, mlm_energy"


async def test_what_answers_too_late_is_missing(monkeypatch):
    async def late():
        await asyncio.Event().wait()

    monkeypatch.setattr("danmax_bluesky.devices.snapshot.READ_S", 0.01)
    snapshot = Snapshot({"ea_ppm3_1": ENTRIES["ea_ppm3_1"]}, {"ea_ppm3_1": late})
    assert (await snapshot.read())["snapshot_missing"]["value"] == "ea_ppm3_1"


async def test_a_required_value_keeps_a_scan_from_starting():
    entries = {"hdcm_energy": SnapshotSettings(address="a/b/d/Energy", required=True)}
    with pytest.raises(
        DeviceError, match=r"needs values.*hdcm_energy: tango://x/y/z does not answer.*required = false"
    ):
        await Snapshot(entries, {"hdcm_energy": refusing}).read()


async def test_a_number_that_becomes_a_text_is_missing():
    value = {"now": 1.0}

    async def read():
        return Recorded(value["now"], "", 1.0)

    snapshot = Snapshot({"ea_ppm3_1": ENTRIES["ea_ppm3_1"]}, {"ea_ppm3_1": read})
    await snapshot.describe()
    value["now"] = "broken"
    readings = await snapshot.read()
    assert math.isnan(readings["ea_ppm3_1"]["value"])
    assert readings["snapshot_missing"]["value"] == "ea_ppm3_1"


def test_it_is_a_baseline():
    engine = RunEngine({})
    snapshot = Snapshot(ENTRIES, {"ea_ppm3_1": answering(1.5, "mm")})
    documents = []
    engine(bpp.baseline_wrapper(bp.count([]), [snapshot]), lambda name, doc: documents.append((name, doc)))
    events = [doc["data"] for name, doc in documents if name == "event"]
    assert [event["ea_ppm3_1"] for event in events] == [1.5, 1.5]


class Silent:
    """A motor whose server can be silenced."""

    name = "tom_sam_x"

    def __init__(self):
        self.answers = True

    async def _say(self, what):
        if not self.answers:
            raise DeviceError("tom_sam_x does not answer")
        return what

    async def describe(self):
        return await self._say({"tom_sam_x": {"source": "soft", "dtype": "number", "shape": []}})

    async def read(self):
        return await self._say({"tom_sam_x": {"value": 2.0, "timestamp": 1.0}})

    async def describe_configuration(self):
        return await self._say({"tom_sam_x-velocity": {"source": "soft", "dtype": "number", "shape": []}})

    async def read_configuration(self):
        return await self._say({"tom_sam_x-velocity": {"value": 5.0, "timestamp": 1.0}})


@pytest.mark.parametrize("silent_from", [0, 1])
def test_a_motor_that_is_lost_does_not_stop_the_scan(silent_from):
    motor = Silent()
    motor.answers = silent_from > 0
    documents = []

    def plan():
        yield from bps.open_run()
        motor.answers = False
        yield from bps.close_run()

    RunEngine({})(bpp.baseline_wrapper(plan(), [Tolerated(motor)]), lambda name, doc: documents.append((name, doc)))
    events = [doc["data"] for name, doc in documents if name == "event"]
    assert documents[-1][1]["exit_status"] == "success"
    if silent_from:
        assert events[0] == {"tom_sam_x": 2.0}
        assert math.isnan(events[1]["tom_sam_x"])
