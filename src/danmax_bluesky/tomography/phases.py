"""A scan as its phases: what is exposed, how often, for how long, and at which angles.

Phases are planned once, before anything is armed; plans act on them, the start document repeats them, and formats,
audit and angles compare what was measured with them.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from danmax_bluesky.config import INSIDE
from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.sequences import AngleList, GoldenAngle, Interlaced, Linear, VanDerCorput, sorted_passes
from danmax_bluesky.tomography.translations import Travel

Kind = Literal["dark", "flat", "projection", "alignment", "data"]
Motion = Literal["rest", "sweep", "step", "list", "free"]

LABELS: Mapping[str, str] = {"dark": "dark", "flat": "flat", "projection": "proj", "alignment": "ortho"}
"""What cameras and the configurator are told that frames are, by their kind."""
LOCATIONS: Mapping[str, str] = {"dark": "dark_file", "flat": "white_file"}
"""Kind of frames -> the name under which a camera and the configurator tell where the latest of them lie."""
STREAMS: Mapping[Kind, str] = {
    "dark": "dark",
    "flat": "flat",
    "projection": "proj",
    "alignment": "ortho",
    "data": "primary",
}
"""Stream of the phase of a kind, where a composition gives no other name."""
ORTHOGONAL_DEG = 90.0
LARGEST_LIST = 2000
"""Angles of one sweep that is triggered at each of them: two rows each fit the sequencer's table of 4096."""
LARGEST_WIDE_LIST = 500
"""The same for steps above 90 degrees, which can take more rows each."""


@dataclass(frozen=True)
class Phase:
    """One segment of a run, under the one arming of the run.

    Attributes:
        name: stream name, unique in its run.
        kind: what its frames are.
        num: number of triggers, and of frames wanted.
        exposure_s: length of the gate, whole microseconds.
        period_s: from the start of one exposure to the start of the next, whole microseconds; in "list" and "step"
            the shortest that the detector allows.
        motion: what rotation does. "rest": nothing. "sweep": constant speed, equally spaced. "list": constant speed,
            triggered at each angle. "step": a move before each exposure. "free": turning, without regard to angles.
        angles_deg: planned angle at the MIDDLE of each exposure, empty at rest.
        parked_deg: where rotation nominally stands during "rest" (after a sweep: at its last angle), NaN if nothing is
            known; elsewhere the first angle.
        speed_deg_s: speed of a "sweep", a "list" or a "free" rotation, negative if angles fall; 0 elsewhere.
        travels: translations that accompany the exposures.
        every_position: a "sweep" is triggered at each angle by position compare instead of in time.
    """

    name: str
    kind: Kind
    num: int
    exposure_s: float
    period_s: float
    motion: Motion = "rest"
    angles_deg: tuple[float, ...] = ()
    parked_deg: float = math.nan
    speed_deg_s: float = 0.0
    travels: tuple[Travel, ...] = ()
    every_position: bool = False

    @property
    def direction(self) -> int:
        """1 if angles rise, -1 if they fall, 0 if rotation does not move."""
        if self.speed_deg_s:
            return 1 if self.speed_deg_s > 0 else -1
        if self.motion == "step" and len(self.angles_deg) > 1:
            return 1 if self.angles_deg[-1] >= self.angles_deg[0] else -1
        return 0

    @property
    def duration_s(self) -> float:
        """From the first exposure's start to the last one's end, seconds; moves between steps are not in it."""
        if self.motion == "list":
            return abs((self.angles_deg[-1] - self.angles_deg[0]) / self.speed_deg_s) + self.exposure_s
        return (self.num - 1) * self.period_s + self.exposure_s if self.num else 0.0

    @property
    def longest_wait_s(self) -> float:
        """The longest time between the ends of two exposures of a phase that does not stop in between, seconds."""
        if self.motion == "list" and self.num > 1:
            return float(np.max(np.abs(np.diff(self.angles_deg)))) / abs(self.speed_deg_s)
        return self.period_s

    @property
    def frame_angles_deg(self) -> np.ndarray:
        """Planned angle of each frame, shape (num,), degrees; where rotation is parked, or NaN, for phases at rest."""
        return np.asarray(self.angles_deg, float) if self.angles_deg else np.full(self.num, self.parked_deg)


def period_us(exposure_s: float, latency_s: float, readout_s: float) -> tuple[int, int]:
    """Exposure and period in the sequencer's whole microseconds.

    The gate has to fall between two exposures, so a period is at least one microsecond longer than its exposure.
    """
    exposure = max(1, round(exposure_s * 1e6))
    dead = max(1, math.ceil(max(latency_s, readout_s) * 1e6 - 1e-6))
    return exposure, exposure + dead


def plan_phases(scan: TomoScan, start_deg: float, readout_s: float = 0.0) -> tuple[Phase, ...]:
    """The phases of one place of a scan, in the order of the measurement.

    Args:
        scan: what was asked for.
        start_deg: where rotation stands now; relative scans count from here.
        readout_s: dead time of the slowest detector, seconds.

    Raises:
        ScanError: if rotation would have to turn in two directions at once, or a sweep would not move.
    """
    timed = _Timing(scan, readout_s)
    parked = start_deg
    flat_at = parked if scan.flat_angle_deg is None else scan.flat_angle_deg
    plan: list[Phase] = []
    if scan.get_dark:
        plan.append(timed.fields("dark", "dark", scan.n_darks, parked))
    if scan.get_flat:
        plan.append(timed.fields("flat", "flat", scan.n_flats, flat_at))
    projections = _projections(scan, start_deg, timed)
    between = scan.flats_every > 0
    last_deg = parked
    for number, phase in enumerate(projections):
        if between and number:
            at_deg = last_deg if scan.flat_angle_deg is None else scan.flat_angle_deg
            plan.append(timed.fields(f"flat_{number:03d}", "flat", scan.n_flats, at_deg))
        plan.append(phase)
        last_deg = float(phase.frame_angles_deg[-1])
    if scan.get_ortho and not scan.is_timed:
        targets = orthogonal_targets(np.concatenate([phase.frame_angles_deg for phase in projections]))
        if targets:
            travels = _travels(scan, np.asarray(targets), projections[0].angles_deg[0])
            plan.append(dataclasses.replace(timed.steps("ortho", "alignment", targets), travels=travels))
            last_deg = targets[-1]
    if scan.get_flat_after:
        at_deg = last_deg if scan.flat_angle_deg is None else scan.flat_angle_deg
        plan.append(timed.fields("flat_after", "flat", scan.n_flats, at_deg))
    if scan.get_dark_after:
        plan.append(timed.fields("dark_after", "dark", scan.n_darks, last_deg))
    return tuple(plan)


def frames_location(file: object, dataset: str, first: int, end: int) -> str:
    """Where frames lie, as file::dataset[first:end]; the end is left out."""
    return f"{file}{INSIDE}{dataset}[{first}:{end}]"


def resting(kind: Kind, num: int, exposure_s: float, readout_s: float = 0.0, name: str = "") -> Phase:
    """Exposures of a composition of one's own, while nothing rotates.

    Args:
        kind: what the frames show.
        num: number of exposures, at least 1.
        exposure_s: seconds.
        readout_s: dead time of the slowest detector, seconds.
        name: of the stream; "" takes that of the kind.

    Raises:
        ScanError: a number is out of range.
    """
    exposure, period = _checked_period_us(num, exposure_s, readout_s)
    return Phase(name or STREAMS[kind], kind, num, exposure / 1e6, period / 1e6)


def sweeping(
    start_deg: float, end_deg: float, num: int, exposure_s: float, readout_s: float = 0.0, name: str = ""
) -> Phase:
    """Projections at constant speed, equally spaced: `num` of them, the first and the last at the angles given.

    Raises:
        ScanError: a number is out of range, or rotation would not move.
    """
    if num < 2:
        raise ScanError(f"num = {num}: a sweep needs at least 2 projections")
    angles = np.linspace(start_deg, end_deg, num)
    return _as_sweep(stepping("projection", angles, exposure_s, readout_s, name), start_deg, end_deg)


def stepping(
    kind: Kind, angles_deg: Sequence[float] | np.ndarray, exposure_s: float, readout_s: float = 0.0, name: str = ""
) -> Phase:
    """Exposures at angles at which rotation stops.

    Raises:
        ScanError: a number is out of range.
    """
    angles = tuple(float(angle) for angle in angles_deg)
    exposure, period = _checked_period_us(len(angles), exposure_s, readout_s)
    return Phase(name or STREAMS[kind], kind, len(angles), exposure / 1e6, period / 1e6, "step", angles, angles[0])


def _checked_period_us(num: int, exposure_s: float, readout_s: float) -> tuple[int, int]:
    if num < 1:
        raise ScanError(f"num = {num}: at least 1 exposure is needed")
    if not exposure_s > 0 or not math.isfinite(exposure_s):
        raise ScanError(f"exposure = {exposure_s} s: an exposure takes time; give more than 0 s")
    return period_us(exposure_s, 0.0, readout_s)


def orthogonal_targets(planned_deg: Sequence[float] | np.ndarray, every_deg: float = ORTHOGONAL_DEG) -> list[float]:
    """Angles for frames on the way back: from the last angle towards the first, at angles that were measured.

    Args:
        planned_deg: planned angles of all projections, degrees, in the order of the measurement.
        every_deg: distance between two of them, degrees.

    Returns:
        the angles in the order of the way back, degrees; each is one of `planned_deg`, the last angle is not among
        them, and the first is if it lies on the raster.
    """
    planned = np.asarray(planned_deg, float)
    last, first = planned[-1], planned[0]
    way = abs(last - first)
    slack = way / max(1, len(planned) - 1) / 2
    count = int((way + slack) // every_deg)
    targets: list[float] = []
    for k in range(1, count + 1):
        wanted = last - math.copysign(every_deg * k, last - first)
        nearest = float(planned[np.argmin(np.abs(planned - wanted))])
        if nearest != last and nearest not in targets:
            targets.append(nearest)
    return targets


def unique_names(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """The same phases; a name that occurs more than once is numbered from 001, as in `flat_001`, `flat_002`."""
    wanted = list(phases)
    total = Counter(phase.name for phase in wanted)
    taken = {name for name, count in total.items() if count == 1}
    seen: Counter[str] = Counter()
    named: list[Phase] = []
    for phase in wanted:
        name = phase.name
        if total[name] > 1:
            while True:
                seen[name] += 1
                candidate = f"{name}_{seen[name]:03d}"
                if candidate not in taken:
                    break
            taken.add(candidate)
            phase = dataclasses.replace(phase, name=candidate)
        named.append(phase)
    return tuple(named)


def total_frames(phases: Iterable[Phase]) -> int:
    """Number of frames for which the detectors are armed, once."""
    return sum(phase.num for phase in phases)


def segments_metadata(phases: Iterable[Phase]) -> list[dict[str, Any]]:
    """What the start document says of each segment."""
    return [segment_metadata(phase) for phase in phases]


def segment_metadata(phase: Phase) -> dict[str, Any]:
    """What a segment's own descriptor, and the start document, say of its plan; plain JSON, without NaN."""
    return {
        "name": phase.name,
        "kind": phase.kind,
        "num": phase.num,
        "exposure_s": phase.exposure_s,
        "period_s": phase.period_s,
        "motion": phase.motion,
        **({} if math.isnan(phase.parked_deg) else {"parked_deg": phase.parked_deg}),
        **({"angles_deg": list(phase.angles_deg)} if phase.motion in ("list", "step") else {}),
        **(
            {"first_deg": phase.angles_deg[0], "last_deg": phase.angles_deg[-1]}
            if phase.angles_deg and phase.motion in ("sweep", "free")
            else {}
        ),
        **({"speed_deg_s": phase.speed_deg_s} if phase.speed_deg_s else {}),
        **({"travels": [travel.model_dump(exclude={"kind"}) for travel in phase.travels]} if phase.travels else {}),
    }


def planned_angles_deg(segment: Mapping[str, Any]) -> np.ndarray:
    """Planned mid-exposure angles of a segment, from what `segment_metadata` says of it.

    Returns:
        degrees, shape (num,), NaN where nothing was planned or known.
    """
    num = int(segment["num"])
    if segment.get("angles_deg"):
        return np.asarray(segment["angles_deg"], float)
    if "first_deg" in segment:
        return np.linspace(segment["first_deg"], segment["last_deg"], num)
    return np.full(num, float(segment.get("parked_deg", math.nan)))


class _Timing:
    """Makes phases of one scan: exposure and period in whole microseconds."""

    def __init__(self, scan: TomoScan, readout_s: float) -> None:
        self.scan = scan
        self.projection_us = period_us(scan.exp_time, scan.latency, readout_s)
        self.flat_us = period_us(scan.flat_exposure_s, scan.latency, readout_s)

    def fields(self, name: str, kind: Kind, num: int, parked_deg: float) -> Phase:
        exposure, period = self.flat_us if kind == "flat" else self.projection_us
        return Phase(name, kind, num, exposure / 1e6, period / 1e6, parked_deg=parked_deg)

    def steps(self, name: str, kind: Kind, angles_deg: Sequence[float]) -> Phase:
        exposure, period = self.projection_us
        angles = tuple(float(angle) for angle in angles_deg)
        return Phase(name, kind, len(angles), exposure / 1e6, period / 1e6, "step", angles, angles[0])

    def free(self, num: int, start_deg: float, speed_deg_s: float) -> Phase:
        rest = self.fields("proj", "projection", num, start_deg)
        if not speed_deg_s:
            return rest
        middles = start_deg + speed_deg_s * (np.arange(num) * rest.period_s + rest.exposure_s / 2)
        return dataclasses.replace(rest, motion="free", angles_deg=tuple(middles.tolist()), speed_deg_s=speed_deg_s)

    def sweep(self, angles_deg: np.ndarray) -> Phase:
        phase = self.steps("proj", "projection", angles_deg.tolist())
        swept = _as_sweep(phase, angles_deg[0], angles_deg[-1], angles_deg)
        return dataclasses.replace(swept, every_position=self.scan.every_position)

    def listed(self, angles_deg: np.ndarray) -> Phase:
        phase = self.steps("proj", "projection", angles_deg.tolist())
        steps = np.diff(angles_deg)
        narrowest = float(np.min(np.abs(steps)))
        # Speed wavers, and an exposure that is due before the detector is ready would be late: keep 2 % in hand.
        speed = 0.98 * narrowest / phase.period_s
        return dataclasses.replace(phase, motion="list", speed_deg_s=math.copysign(speed, float(steps[0])))


def _as_sweep(phase: Phase, first_deg: float, last_deg: float, angles_deg: np.ndarray | None = None) -> Phase:
    """A stepped phase as a sweep. Its speed follows from the rounded period, so that no error builds up."""
    if first_deg == last_deg:
        raise ScanError(f"{phase.name}: a sweep from {first_deg:g} to {last_deg:g} degrees does not move; rest instead")
    middles = np.linspace(first_deg, last_deg, phase.num) if angles_deg is None else angles_deg
    speed = float(last_deg - first_deg) / ((phase.num - 1) * phase.period_s)
    angles = tuple(float(angle) for angle in middles)
    return dataclasses.replace(phase, motion="sweep", angles_deg=angles, parked_deg=angles[0], speed_deg_s=speed)


def _projections(scan: TomoScan, start_deg: float, timing: _Timing) -> list[Phase]:
    if scan.is_timed:
        total = scan.n_projections
        cuts = [*range(0, total, scan.flats_every or total), total]
        parts = [timing.free(b - a, start_deg, scan.velocity_deg_s) for a, b in itertools.pairwise(cuts)]
        return list(unique_names(parts))
    phases: list[Phase] = []
    origin = None
    for angles in angle_passes(scan, start_deg):
        origin = float(angles[0]) if origin is None else origin
        regular = isinstance(scan.angles, Linear) and scan.is_continuous
        size = scan.flats_every or len(angles)
        if scan.is_continuous and (scan.every_position or not regular):
            wide = len(angles) > 1 and float(np.max(np.abs(np.diff(angles)))) > 90.0
            size = min(size, LARGEST_WIDE_LIST if wide else LARGEST_LIST)
        for part in _parts(angles, size):
            if not scan.is_continuous or len(part) == 1:
                phase = timing.steps("proj", "projection", part.tolist())
            else:
                phase = timing.sweep(part) if regular else timing.listed(part)
            phases.append(dataclasses.replace(phase, travels=_travels(scan, part, origin)))
    return list(unique_names(phases))


def _parts(angles: np.ndarray, size: int) -> list[np.ndarray]:
    return [angles[start : start + size] for start in range(0, len(angles), size)]


def _travels(scan: TomoScan, angles: np.ndarray, origin_deg: float) -> tuple[Travel, ...]:
    if scan.helical is None:
        return ()
    first, last = (scan.helical.offset_mm(float(angle) - origin_deg) for angle in (angles[0], angles[-1]))
    return (Travel(motor=scan.helical.motor, start_mm=first, end_mm=last),)


def angle_passes(scan: TomoScan, start_deg: float) -> list[np.ndarray]:
    """Mid-exposure angles of each uninterrupted pass, degrees.

    One pass in all, or one for each turn if `back_and_forth`, every second one backwards.
    """
    first, last = scan.range_deg(start_deg)
    span = last - first
    sequence = scan.angles
    if isinstance(sequence, AngleList):
        base = start_deg if scan.is_relative else 0.0
        passes = [base + np.asarray(sequence.angles_deg)] * scan.turns
    elif isinstance(sequence, Linear) and scan.back_and_forth:
        passes = [first + span * sequence.fractions(scan.nsteps, 1)] * scan.turns
    elif isinstance(sequence, GoldenAngle | VanDerCorput) and scan.is_continuous:
        parts = sorted_passes(sequence.fractions(scan.nsteps, scan.turns), scan.nsteps, scan.turns)
        further = 0 if scan.back_and_forth else 1
        passes = [first + span * (part + turn * further) for turn, part in enumerate(parts)]
        passes = passes if scan.back_and_forth else [np.concatenate(passes)]
    elif isinstance(sequence, Interlaced) and scan.back_and_forth:
        fractions = sequence.fractions(scan.nsteps, scan.turns)
        cuts = [scan.nsteps * turn for turn in range(1, scan.turns)]
        passes = [first + span * (part - turn) for turn, part in enumerate(np.split(fractions, cuts))]
    else:
        passes = [first + span * sequence.fractions(scan.nsteps, scan.turns)]
    if scan.back_and_forth:
        passes = [angles[::-1] if turn % 2 else angles for turn, angles in enumerate(passes)]
    return passes
