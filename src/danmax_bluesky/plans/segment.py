"""One segment of a run: from the first gate to the last frame, also when something goes wrong in between."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator
from ophyd_async.core import FlyMotorInfo
from ophyd_async.fastcs.panda import SeqTable, SeqTableInfo, SeqTrigger

from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.dark_flat_location import frames_so_far, publish_dark_flat_location
from danmax_bluesky.plans.guards import PauseGuard, Quietly, StallWatch
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import read_position, shut, surely, wait_for_beam
from danmax_bluesky.tomography.phases import LABELS, Phase, segment_metadata
from danmax_bluesky.tomography.scan_plan import PlannedPhase, plan_phase
from danmax_bluesky.tomography.triggers import GateRow, SweepMotion, travel_mm

COLLECT_EVERY_S = 0.25
FLIGHT_LEAD_S = 0.05
FLIGHT_ROOM_S = 0.3
"""What a motor flies on after the last exposure: its controller may be late in telling that it moves."""
SETTLE_LOOKS, SETTLE_EVERY_S = 20, 0.25
STALL_PERIODS = 5
log = logging.getLogger(__name__)

_TRIGGERS = {
    "immediate": SeqTrigger.IMMEDIATE,
    "position_ge": SeqTrigger.POSA_GT,
    "position_le": SeqTrigger.POSA_LT,
}


@dataclass(frozen=True)
class Flight:
    """A motor that moves at constant speed past a phase whose exposures are timed: a `Course`.

    Attributes:
        motor: its name.
        motion: the part at constant speed, with room before the first and after the last exposure.
        lead_s: time at constant speed before the first exposure begins.
        acceleration_s: time from rest to that speed.
    """

    motor: str
    motion: SweepMotion
    lead_s: float
    acceleration_s: float

    @property
    def waiting_row(self) -> GateRow:
        """The row of the sequencer with which it waits, once the motor moves, for the first exposure."""
        return GateRow(low_us=round((self.acceleration_s + self.lead_s) * 1e6), gate=False)

    @property
    def motors(self) -> tuple[str, ...]:
        """The motor that flies."""
        return (self.motor,)

    def prepare(self, rig: Rig) -> MsgGenerator[tuple[Any, ...]]:
        """Bring the motor to where it runs up from."""
        motor = rig.motor(self.motor)
        yield from prepare_flight(motor, self.motion, 0.0)
        yield from bps.wait(group="motion")
        return (motor,)

    def expose(self, rig: Rig, planned: PlannedPhase, guard: PauseGuard) -> MsgGenerator[None]:
        """Let the motor fly, and count the gates from when it moves."""
        motor = rig.motor(self.motor)
        yield from bps.prepare(rig.sequencer, sequencer_info(rig, (self.waiting_row, *planned.rows)), wait=True)
        yield from bps.kickoff(motor, wait=True)
        yield from bps.kickoff(rig.sequencer, wait=True)
        yield from collect_until_complete(rig, (rig.sequencer, motor), planned.phase)


class Course(Protocol):
    """How motors move while a phase is exposed, and how the sequencer is told meanwhile; `Flight` is one."""

    @property
    def motors(self) -> tuple[str, ...]:
        """Names of the motors that it moves."""
        ...

    def prepare(self, rig: Rig) -> MsgGenerator[tuple[Any, ...]]:
        """Bring the motors to where they begin; returns those that have to be stopped if the phase ends early."""
        ...

    def expose(self, rig: Rig, planned: PlannedPhase, guard: PauseGuard) -> MsgGenerator[None]:
        """Send every gate of the phase, and document the frames, which are counted already."""
        ...


def flight_of(motor: str, phase: Phase, step: float, start: float, acceleration_s: float) -> Flight:
    """The flight that takes a motor by one step from each exposure of a phase to the next.

    Args:
        motor: its name.
        phase: at rest as far as rotation is concerned.
        step: in the motor's units, negative to fall.
        start: position at the middle of the first exposure.
        acceleration_s: time that the motor takes from rest to any speed.
    """
    speed = step / phase.period_s
    begin = start - speed * (phase.exposure_s / 2 + FLIGHT_LEAD_S)
    time_s = FLIGHT_LEAD_S + phase.duration_s + FLIGHT_ROOM_S
    return Flight(motor, SweepMotion(begin, begin + speed * time_s, time_s), FLIGHT_LEAD_S, acceleration_s)


def measure_phase(
    rig: Rig, phase: PlannedPhase | Phase, homes: Mapping[str, float] | None = None, flight: Course | None = None
) -> MsgGenerator[None]:
    """Measure one phase: its own stream, from the first gate to the last frame.

    Nothing of it can be replayed, so an immediate pause ends the run; what was measured is collected and documented.

    Args:
        rig: the devices.
        phase: what is to be measured; one that is not planned yet is planned first.
        homes: where the translations that go with the rotation stood when the scan began; None takes where they are.
        flight: of motors meanwhile, for a phase at rest.

    Raises:
        ScanError: the phase cannot be measured.
        AcquisitionError: a camera stalled, or gave no frame at all.
    """
    (planned,) = yield from planned_phases(rig, (phase,))
    stood = dict(homes or {})
    for travel in planned.phase.travels:
        if travel.motor not in stood:
            stood[travel.motor] = yield from read_position(rig.motor(travel.motor))
    yield from wait_for_beam(rig)
    yield from bpp.rewindable_wrapper(_measure(rig, planned, stood, flight), False)


def planned_phases(rig: Rig, phases: Sequence[PlannedPhase | Phase]) -> MsgGenerator[tuple[PlannedPhase, ...]]:
    """The phases with the rows and moves that are sent for them; what is planned already stays as it is.

    Raises:
        ScanError: a phase cannot be measured.
    """
    acceleration_s = 0.0
    if any(isinstance(phase, Phase) for phase in phases):
        acceleration_s = float((yield from bps.rd(rig.rotation.acceleration_time)))
    planned = [plan_phase(p, rig.scale, acceleration_s) if isinstance(p, Phase) else p for p in phases]
    return tuple(phase.checked() for phase in planned)


def _measure(rig: Rig, planned: PlannedPhase, homes: Mapping[str, float], flight: Course | None) -> MsgGenerator[None]:
    phase = replace(planned.phase, name=rig.panda.new_segment(planned.name))
    guard = PauseGuard(rig.shutter)
    yield Msg("null", guard)  # so that the RunEngine knows whom to tell of a pause
    devices = (*rig.detectors, rig.panda)
    flown = yield from (_prepare_motion(rig, planned, homes) if flight is None else flight.prepare(rig))
    yield from bps.abs_set(rig.panda.segment, json.dumps(segment_metadata(phase)), wait=True)
    yield from bps.declare_stream(*devices, name=phase.name, collect=True)
    for device in devices:
        yield from bps.abs_set(device.events_to_kickoff, phase.num, group="count")
        yield from bps.abs_set(device.stall_timeout, patience_s(rig, phase), group="count")
    yield from bps.wait(group="count")
    yield from _label(rig.detectors, LABELS.get(phase.kind, phase.kind))
    before = yield from frames_so_far(rig)
    guard.flyers = (rig.sequencer, *flown)

    def measure() -> MsgGenerator[None]:
        guard.check(phase.name)
        yield from bps.kickoff_all(*devices, wait=True)
        if flight is not None:
            yield from flight.expose(rig, replace(planned, phase=phase), guard)
        elif phase.motion == "step":
            yield from _step_by_step(rig, phase, sequencer_info(rig, planned.rows), guard, homes)
            yield from collect_until_complete(rig, (), phase)
        else:
            yield from bps.prepare(rig.sequencer, sequencer_info(rig, planned.rows), wait=True)
            yield from bps.kickoff(rig.sequencer, wait=True)
            for motor in flown:
                yield from bps.kickoff(motor, group="motion")
            if flown:
                yield from bps.wait(group="motion")
            yield from collect_until_complete(rig, (rig.sequencer, *flown), phase)
        guard.check(phase.name)

    def keep_what_is_there() -> MsgGenerator[None]:
        yield from shut(rig)
        for mover in (rig.sequencer, *flown):
            yield from bps.stop(Quietly(mover))
        yield from _settle(rig)
        yield from bps.collect(*devices, name=phase.name)

    def unlabel() -> MsgGenerator[None]:
        guard.over = True
        yield from _label(rig.detectors, "")

    yield from bpp.contingency_wrapper(
        measure(), except_plan=lambda _error: surely(keep_what_is_there), final_plan=lambda: surely(unlabel)
    )
    yield from publish_dark_flat_location(rig, phase, before)
    yield from _audit(rig, phase)


def collect_until_complete(rig: Rig, sources: Sequence[Any], phase: Phase) -> MsgGenerator[None]:
    """Wait for what triggers and then for what is triggered, and document frames while they come.

    Once the sources are done no further trigger comes, and the detectors are told so: a frame that is still missing
    then was lost, and is not waited for. It ends with the first error, after documenting what is there.

    Raises:
        AcquisitionError: a camera writes nothing while the PandA sends triggers.
    """
    detectors = (*rig.detectors, rig.panda)
    sending, receiving = [], []
    for flyer in sources:
        sending.append((yield from bps.complete(flyer, wait=False, group="sending")))
    for detector in detectors:
        receiving.append((yield from bps.complete(detector, wait=False, group="receiving")))
    watch = StallWatch(patience_s(rig, phase))
    announced = done = False
    while not done:
        if not announced and all(status.done for status in sending):
            announced = True
            for detector in detectors:
                yield from bps.abs_set(detector.triggers_done, True, wait=True)
        statuses = sending + receiving
        done = all(status.done for status in statuses) or any(s.done and s.exception() for s in statuses)
        yield from bps.collect(*detectors, name=phase.name)
        if not done:
            yield from look(rig, watch)
            awaited = "receiving" if announced else "sending"
            yield from bps.wait(group=awaited, timeout=COLLECT_EVERY_S, error_on_timeout=False)
    yield from bps.wait(group="sending")
    yield from bps.wait(group="receiving")


def patience_s(rig: Rig, phase: Phase) -> float:
    """How long a frame may be overdue, seconds: a few exposures, and what the disk behind a detector may pause."""
    longest_s = max((rig.stall_s[detector.name] for detector in rig.detectors), default=0.0)
    return longest_s + STALL_PERIODS * phase.period_s


def look(rig: Rig, watch: StallWatch) -> MsgGenerator[None]:
    """Ask each camera for trouble, and let the watch compare what the PandA sent with what it wrote.

    Raises:
        AcquisitionError: a camera cannot write, or writes nothing.
    """
    sent = yield from bps.rd(rig.panda.data.num_captured)
    for detector in rig.detectors:
        if problem := (yield from bps.rd(detector.problem)):
            raise AcquisitionError(f"{problem}. What was measured before is on disk")
        watch.look(detector.name, sent, (yield from bps.rd(detector.frames_written)), time.monotonic())


def _settle(rig: Rig) -> MsgGenerator[None]:
    """Wait, not for long, until the detectors have written the frames whose triggers were sent."""
    before: list[int] = []
    for _ in range(SETTLE_LOOKS):
        counts = []
        for detector in rig.detectors:
            counts.append(int((yield from bps.rd(detector.frames_written))))
        if counts == before:
            return
        before = counts
        yield from bps.sleep(SETTLE_EVERY_S)


def _audit(rig: Rig, phase: Phase) -> MsgGenerator[None]:
    """Compare triggers planned, triggers sent, and frames written, and tell what is missing."""
    unsent = yield from bps.rd(rig.panda.frames_missing)
    if unsent:
        log.warning("%s: the PandA captured %d of %d triggers", phase.name, phase.num - unsent, phase.num)
    for detector in rig.detectors:
        missing = yield from bps.rd(detector.frames_missing)
        if missing and missing == phase.num and phase.num > 1:
            raise AcquisitionError(
                f"{detector.name}: none of the {phase.num} frames of {phase.name} arrived; look at the camera's server "
                "and at its trigger line. What was measured before is on disk"
            )
        if missing > unsent:
            log.warning(
                "%s: %s lost %d of %d frames; %s",
                phase.name,
                detector.name,
                missing - unsent,
                phase.num,
                "they are left out, and no other frame's angle changes"
                if detector.has_counters
                else "it does not number its triggers, so nobody knows which; its angles are marked as uncertain",
            )


def sequencer_info(rig: Rig, rows: Sequence[GateRow]) -> SeqTableInfo:
    """What prepares the sequencer for these rows, to be run once."""
    return SeqTableInfo(sequence_table=sequencer_table(rig, rows), repeats=1)


def sequencer_table(rig: Rig, rows: Sequence[GateRow]) -> SeqTable:
    """The PandA's table for these rows; a gate raises the PCAP gate (a) and the outputs of the armed detectors."""
    outputs = {f"out{letter}1": True for letter in {"a", *(rig.trigger_outputs[d.name] for d in rig.detectors)}}
    table = SeqTable.empty()
    for row in rows:
        table += SeqTable.row(
            repeats=row.repeats,
            trigger=_TRIGGERS[row.trigger],
            position=row.position_counts,
            time1=row.high_us,
            time2=row.low_us,
            **(outputs if row.gate else {}),
        )
    return table


def _prepare_motion(rig: Rig, planned: PlannedPhase, homes: Mapping[str, float]) -> MsgGenerator[tuple[Any, ...]]:
    """Bring the axes that will move to where they run up from.

    Returns:
        the axes, rotation last; none if rotation does not sweep.
    """
    if planned.sweep is None:
        return ()
    flown = []
    for travel, motion in zip(planned.phase.travels, planned.travels, strict=True):
        motor = rig.motor(travel.motor)
        yield from prepare_flight(motor, motion, homes[travel.motor])
        flown.append(motor)
    yield from prepare_flight(rig.rotation, planned.sweep, 0.0)
    yield from bps.wait(group="motion")
    return (*flown, rig.rotation)


def prepare_flight(motor: Any, motion: SweepMotion, home: float = 0.0) -> MsgGenerator[None]:
    """Begin to bring a motor to where it runs up from; the group "motion" is done once it stands there."""
    yield from bps.prepare(motor, flight_info(motion, home), group="motion")


def flight_info(motion: SweepMotion, home: float = 0.0) -> FlyMotorInfo:
    """What prepares a motor for a flight; `home` is added to the positions of the motion."""
    return FlyMotorInfo(start_position=home + motion.start, end_position=home + motion.end, time_for_move=motion.time_s)


def _step_by_step(
    rig: Rig, phase: Phase, table: SeqTableInfo, guard: PauseGuard, homes: Mapping[str, float]
) -> MsgGenerator[None]:
    """Move, then let the sequencer send one gate; frames are documented on the way.

    Raises:
        AcquisitionError: a camera writes nothing while the PandA sends triggers.
    """
    devices = (*rig.detectors, rig.panda)
    watch = StallWatch(patience_s(rig, phase))
    for index, angle_deg in enumerate(phase.angles_deg):
        targets: list[Any] = [rig.rotation, angle_deg]
        for travel in phase.travels:
            targets += [rig.motor(travel.motor), homes[travel.motor] + travel_mm(phase, travel, index)]
        yield from bps.mv(*targets)
        guard.check(phase.name)
        yield from bps.prepare(rig.sequencer, table, wait=True)
        yield from bps.kickoff(rig.sequencer, wait=True)
        yield from bps.complete(rig.sequencer, wait=True)
        yield from bps.collect(*devices, name=phase.name)
        yield from look(rig, watch)


def _label(devices: Sequence[Any], text: str) -> MsgGenerator[None]:
    """Tell the cameras what their frames are; empty outside the phases."""
    for device in devices:
        yield from bps.abs_set(device.label, text, group="label")
    if devices:
        yield from bps.wait(group="label")
