import asyncio

import h5py
import numpy as np
import pytest
from ophyd_async.core import AsyncStatus, DetectorTrigger, FlyMotorInfo, SignalRW, TriggerInfo
from ophyd_async.fastcs.panda import PandaPcompDirection, PcompInfo, SeqTable, SeqTableInfo, SeqTrigger

from danmax_bluesky.devices.panda import position_compare, sequencer
from danmax_bluesky.errors import AcquisitionError, DeviceError, StorageError

CPD, OFFSET = 11930463.0, -50.0
SHUTTER, BEAM = 64, 128  # inputs, beside the lines a to f, that are 1 to 32
WRAP = 2**31 / CPD + OFFSET


def counts(angle):
    return (round((angle - OFFSET) * CPD) + 2**31) % 2**32 - 2**31


def level(num):
    return TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=num, exposure_timeout=2)


async def armed(beamline, num):
    orca, panda = beamline.cameras["orca"], beamline.panda
    for device in (orca, panda):
        await device.stage()
        await device.prepare(level(num))
        await device.stall_timeout.set(0.1)
        await device.events_to_kickoff.set(num)
        await device.kickoff()
    return orca, panda


async def finished(*devices):
    for device in devices:
        completing = device.complete()
        await device.triggers_done.set(True)
        await completing
        await device.unstage()


def captured(paths):
    with h5py.File(paths.folder / f"scan-{paths.number:04d}_panda.hdf5") as file:
        return {name: file[name][()] for name in file}


async def fly(rotation, source, start, end, time):
    await rotation.prepare(FlyMotorInfo(start_position=start, end_position=end, time_for_move=time))
    await source.kickoff()
    await rotation.kickoff()
    await rotation.complete()
    await source.complete()


def sweep_table(num, angle, trigger, period_us=10_000, high_us=8_000):
    return SeqTable.row(trigger=trigger, position=counts(angle)) + SeqTable.row(
        repeats=num, time1=high_us, outa1=True, time2=period_us - high_us
    )


@pytest.mark.parametrize(("first", "last"), [(0.0, 90.0), (90.0, 0.0), (100.5, 160.5), (160.5, 100.5)])
async def test_a_sweep_begins_at_the_exact_count_and_goes_on_by_time(beamline, paths, first, last):
    up, num, period_s = last > first, 60, 0.01
    orca, panda = await armed(beamline, num)
    seq = sequencer(panda)
    trigger = SeqTrigger.POSA_GT if up else SeqTrigger.POSA_LT
    await seq.prepare(SeqTableInfo(sequence_table=sweep_table(num, first, trigger), repeats=1))
    speed = (last - first) / (num * period_s)
    await fly(beamline.rotation, seq, first - 0.05 * speed, last + 0.05 * speed, num * period_s + 0.1)
    await finished(orca, panda)
    log = beamline.twin.world.exposures["orca"]
    assert len(log) == num
    # the exposure begins one tick of 8 ns after the count was reached, which took less than a count's time
    assert abs(log["start_deg"][0] - first) < abs(speed) * 10e-9 + 1 / CPD
    assert np.diff(log["angle_deg"]) == pytest.approx(np.full(num - 1, speed * period_s), abs=1e-8)
    assert set(np.diff(log["start_ns"]).tolist()) == {10_000_000}
    data = captured(paths)
    assert all(len(values) == num and values.dtype == np.float64 for values in data.values())
    turns = 2**32 / CPD
    wrong = np.abs(data["tom_ry_mean"] / CPD + OFFSET - log["angle_deg"])
    wrapping = (log["start_deg"] < WRAP) != (log["end_deg"] < WRAP)
    assert np.minimum(wrong, np.abs(wrong - turns))[~wrapping].max() < 1e-6
    assert wrapping.sum() == (1 if max(first, last) > 130 else 0)
    assert np.all(np.abs(data["tom_ry_mean"][wrapping] / CPD) < 0.999 * turns / 2)
    assert data["tom_ry_diff"] == pytest.approx((log["end_deg"] - log["start_deg"]) * CPD, abs=1.01)
    end = log["end_deg"] - data["tom_ry_end"] / CPD - OFFSET
    assert np.minimum(np.abs(end), np.abs(end - turns)).max() < 2 / CPD
    assert set(data["pcap_bits0"].tolist()) == {1.0 + BEAM}
    assert np.diff(data["pcap_ts_trig"]) == pytest.approx(np.full(num - 1, period_s), abs=1e-6)


async def test_a_position_for_every_row(beamline):
    angles = np.linspace(10.0, 30.0, 81)
    orca, panda = await armed(beamline, len(angles))
    table = SeqTable.empty()
    for angle in angles:
        table += SeqTable.row(trigger=SeqTrigger.POSA_GT, position=counts(angle), time1=1000, outa1=True, time2=1)
    seq = sequencer(panda)
    await seq.prepare(SeqTableInfo(sequence_table=table, repeats=1))
    await fly(beamline.rotation, seq, 9.0, 31.0, 2.2)
    await finished(orca, panda)
    log = beamline.twin.world.exposures["orca"]
    assert np.abs(log["start_deg"] - angles).max() < 2 / CPD


async def test_a_table_that_is_over_before_its_start_was_confirmed_has_begun(beamline, monkeypatch):
    orca, panda = await armed(beamline, 2)
    seq = sequencer(panda)
    put = SignalRW.set

    @AsyncStatus.wrap
    async def answer_late(signal, value, timeout=None):
        await put(signal, value)
        await asyncio.sleep(0.1)  # far longer than the table takes by the twin's clock

    await seq.prepare(SeqTableInfo(sequence_table=SeqTable.row(repeats=2, time1=500, outa1=True, time2=500), repeats=1))
    with monkeypatch.context() as slow:
        slow.setattr(SignalRW, "set", answer_late)
        await seq.kickoff()
    await seq.complete()
    await finished(orca, panda)
    assert len(beamline.twin.world.exposures["orca"]) == 2


@pytest.mark.parametrize("lasts_us", [10_000, 3_000_000])
async def test_a_sequence_that_nobody_saw_run_has_begun_only_if_it_may_be_over(beamline, monkeypatch, lasts_us):
    """A server that looks ten times a second may miss a short one, and never one of seconds."""
    monkeypatch.setattr("danmax_bluesky.devices.panda.BRIEF_S", 0.1)
    monkeypatch.setattr("danmax_bluesky.devices.panda.START_S", 0.2)
    seq = sequencer(beamline.panda)
    await seq.prepare(SeqTableInfo(sequence_table=SeqTable.row(time1=lasts_us // 2, time2=lasts_us // 2), repeats=1))
    with monkeypatch.context() as deaf:

        @AsyncStatus.wrap
        async def ignore(signal, value, timeout=None):
            pass

        deaf.setattr(SignalRW, "set", ignore)
        if lasts_us < 100_000:
            await seq.kickoff()
            await seq.complete()
        else:
            with pytest.raises(AcquisitionError, match=r"panda-seq-1 is enabled, and not active 0\.2 s later"):
                await seq.kickoff()


async def test_both_sequencers_share_the_lines(beamline, paths):
    orca, panda = await armed(beamline, 5)
    one, two = sequencer(panda, 1), sequencer(panda, 2)
    # the second begins when the first is done
    behind = SeqTable.row(trigger=SeqTrigger.BITA_0, time2=1) + SeqTable.row(
        repeats=3, time1=1000, outa1=True, time2=1000
    )
    first = SeqTable.row(repeats=2, time1=2000, outa1=True, outb1=True, time2=2000)
    await one.prepare(SeqTableInfo(sequence_table=first, repeats=1))
    await two.prepare(SeqTableInfo(sequence_table=behind, repeats=1))
    await one.kickoff()
    await two.kickoff()
    await one.complete()
    await two.complete()
    await finished(orca, panda)
    log = beamline.twin.world.exposures["orca"]
    assert ((log["end_ns"] - log["start_ns"]) // 1000).tolist() == [2000, 2000, 1000, 1000, 1000]
    assert (captured(paths)["pcap_bits0"] - BEAM).tolist() == [3.0, 3.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("first", "last"), [(0.0, 40.0), (40.0, 0.0)])
async def test_position_compare_sends_its_pulses_at_their_counts(beamline, first, last):
    sign, num = (1 if last > first else -1), 41
    orca, panda = await armed(beamline, num)
    pcomp = position_compare(panda)
    begin = counts(10.0 if sign > 0 else 30.0)
    info = PcompInfo(
        start_position=begin,
        pulse_width=round(0.3 * CPD),
        rising_edge_step=round(0.5 * CPD),
        number_of_pulses=num,
        direction=PandaPcompDirection.POSITIVE if sign > 0 else PandaPcompDirection.NEGATIVE,
    )
    await pcomp.prepare(info)
    await fly(beamline.rotation, pcomp, first, last, 2.0)
    await finished(orca, panda)
    log = beamline.twin.world.exposures["orca"]
    wanted = (begin + sign * np.arange(num) * round(0.5 * CPD)) / CPD + OFFSET
    assert np.abs(log["start_deg"] - wanted).max() < 2 / CPD
    assert np.abs(log["end_deg"] - wanted - sign * 0.3).max() < 2 / CPD


@pytest.mark.parametrize("options", [{"twin.clock": "real"}])
@pytest.mark.parametrize("how", ["stop", "unstage"])
async def test_stopping_in_the_middle_sends_no_further_trigger_and_the_next_scan_works(beamline, paths, how):
    orca, panda = await armed(beamline, 50)
    seq = sequencer(panda)
    await seq.stage()
    await seq.prepare(
        SeqTableInfo(sequence_table=SeqTable.row(repeats=50, time1=10_000, outa1=True, time2=10_000), repeats=1)
    )
    await seq.kickoff()
    completing = seq.complete()
    await asyncio.sleep(0.1)
    await getattr(seq, how)()
    await completing
    sent = len(beamline.twin.world.exposures["orca"])
    assert 0 < sent < 50
    await asyncio.sleep(0.06)
    assert len(beamline.twin.world.exposures["orca"]) == sent
    assert await panda.data.num_captured.get_value() == sent
    await finished(orca, panda)
    assert await orca.frames_missing.get_value() == 50 - sent
    paths.number = 2
    orca, panda = await armed(beamline, 4)
    await seq.prepare(
        SeqTableInfo(sequence_table=SeqTable.row(repeats=4, time1=1000, outa1=True, time2=1000), repeats=1)
    )
    await seq.kickoff()
    await seq.complete()
    await finished(orca, panda)
    assert await orca.frames_missing.get_value() == 0
    assert len(captured(paths)["tom_ry_mean"]) == 4


@pytest.mark.parametrize("options", [{"twin.clock": "real"}])
async def test_a_gate_that_is_cut_short_is_a_short_exposure(beamline):
    orca, panda = await armed(beamline, 1)
    seq = sequencer(panda)
    await seq.prepare(SeqTableInfo(sequence_table=SeqTable.row(time1=10_000_000, outa1=True, time2=10), repeats=1))
    await seq.kickoff()
    await asyncio.sleep(0.05)
    await seq.stop()
    await finished(orca, panda)
    log = beamline.twin.world.exposures["orca"]
    assert (log["end_ns"] - log["start_ns"])[0] < 5e9


async def angles_of_a_scan(beamline, paths, number):
    paths.number = number
    orca, panda = await armed(beamline, 30)
    seq = sequencer(panda)
    await seq.prepare(SeqTableInfo(sequence_table=sweep_table(30, 7.0, SeqTrigger.POSA_GT), repeats=1))
    await fly(beamline.rotation, seq, 5.0, 33.0, 0.5)
    await finished(orca, panda)
    data = captured(paths)
    del data["pcap_ts_trig"]  # seconds since the arming
    return beamline.twin.world.exposures["orca"]["angle_deg"].tolist(), {k: v.tolist() for k, v in data.items()}


KNOWN: dict[str, tuple] = {}


@pytest.mark.parametrize("options", [{"twin.clock": "fast"}, {"twin.clock": "real"}], ids=["fast", "real"])
async def test_angles_are_the_same_to_the_last_bit_in_every_run_and_by_both_clocks(beamline, paths):
    first = await angles_of_a_scan(beamline, paths, 1)
    await beamline.rotation.set(-20.0)
    assert await angles_of_a_scan(beamline, paths, 2) == first
    assert KNOWN.setdefault("angles", first) == first


async def test_rows_are_written_while_they_come_and_readable(beamline, paths, gates):
    _, panda = await armed(beamline, 3)
    seq = sequencer(panda)
    await seq.prepare(SeqTableInfo(sequence_table=gates(3), repeats=1))
    await seq.kickoff()
    await seq.complete()
    assert await panda.data.num_captured.get_value() == 3
    with h5py.File(paths.folder / "scan-0001_panda.hdf5", "r", libver="latest", swmr=True) as file:
        assert file["tom_ry_mean"].shape == (3,)
        assert file["tom_ry_mean"].chunks == (1024,)
        assert file["tom_ry_mean"].maxshape == (None,)
    await beamline.cameras["orca"].unstage()
    await panda.unstage()


async def test_no_file_is_overwritten(beamline, paths):
    (paths.folder / "scan-0001_panda.hdf5").write_bytes(b"mine")
    await beamline.panda.stage()
    with pytest.raises(StorageError, match="exists already, and no file is ever overwritten"):
        await beamline.panda.prepare(level(1))
    assert (paths.folder / "scan-0001_panda.hdf5").read_bytes() == b"mine"
    await beamline.panda.unstage()


async def test_a_sequencer_without_a_table_says_so(beamline):
    with pytest.raises(DeviceError, match="seq1 has no table"):
        await beamline.panda.seq[1].enable.set("ONE")


async def test_nothing_is_captured_while_the_capture_is_not_armed(beamline, gates):
    seq = sequencer(beamline.panda)
    await seq.prepare(SeqTableInfo(sequence_table=gates(3), repeats=1))
    await seq.kickoff()
    await seq.complete()
    assert await beamline.panda.data.num_captured.get_value() == 0


async def test_a_sequencer_that_waits_costs_no_time_and_can_be_stopped(beamline):
    seq = sequencer(beamline.panda)
    never = SeqTable.row(trigger=SeqTrigger.POSA_GT, position=counts(100.0), time1=10, outa1=True, time2=10)
    await seq.prepare(SeqTableInfo(sequence_table=never, repeats=1))
    await seq.kickoff()
    await asyncio.sleep(0.05)
    before = beamline.twin.world.clock.now_ns()
    await asyncio.sleep(0.05)
    assert beamline.twin.world.clock.now_ns() == before
    await beamline.shutter.set("open")
    await beamline.rotation.set(101.0)
    await seq.complete()


async def test_a_sequencer_can_wait_for_the_shutter_and_for_the_beam(beamline):
    orca, panda = await armed(beamline, 2)
    seq = sequencer(panda)
    table = SeqTable.row(trigger=SeqTrigger.BITB_1, time1=1000, outa1=True, time2=1000)
    table += SeqTable.row(trigger=SeqTrigger.BITC_1, time1=1000, outa1=True, time2=1000)
    beamline.twin.faults.dump_beam()
    await seq.prepare(SeqTableInfo(sequence_table=table, repeats=1))
    await seq.kickoff()
    log = beamline.twin.world.exposures["orca"]
    await asyncio.sleep(0.02)
    assert len(log) == 0
    await beamline.shutter.set("open")
    await asyncio.sleep(0.05)
    assert log["open"].tolist() == [1]
    beamline.twin.faults.restore_beam()
    await seq.complete()
    assert log["beam"].tolist() == [0.0, 1.0]
    await finished(orca, panda)


async def test_shutter_and_beam_are_captured_with_every_trigger(beamline, paths, gates):
    orca, panda = await armed(beamline, 4)
    beamline.twin.faults.dump_beam_between(3, 3)
    seq = sequencer(panda)
    for state, num in (("closed", 1), ("open", 3)):
        await beamline.shutter.set(state)
        await seq.prepare(SeqTableInfo(sequence_table=gates(num), repeats=1))
        await seq.kickoff()
        await seq.complete()
    await finished(orca, panda)
    assert (captured(paths)["pcap_bits0"] - 1).tolist() == [BEAM, SHUTTER + BEAM, SHUTTER + BEAM, SHUTTER]


async def test_a_segment_is_declared_for_its_own_run_alone(beamline):
    panda = beamline.panda
    await panda.stage()
    await panda.segment.set('{"name": "dark", "kind": "dark", "num": 3}')
    assert panda.new_segment("dark") == "dark"
    assert panda.new_segment("dark") == "dark_002"
    assert (await panda.read_configuration())[f"{panda.name}-segment"]["value"]
    await panda.stage()
    assert (await panda.read_configuration())[f"{panda.name}-segment"]["value"] == ""
    assert panda.new_segment("dark") == "dark"
    await panda.unstage()
