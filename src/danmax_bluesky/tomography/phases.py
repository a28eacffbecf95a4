"""Phases: what is exposed, how often, for how long, and at which angles.

Phases are planned once, before anything is armed; plans act on them, the start document repeats them, and formats,
audit and angles compare what was measured with them. Their times are whole microseconds, as the sequencer counts them.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.config import INSIDE
from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.translations import Travel

Kind = Literal["dark", "flat", "projection", "alignment", "data"]
Motion = Literal["rest", "sweep", "step", "list", "free", "rows"]

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


@dataclass(frozen=True)
class Phase:
    """One segment of a run, under the one arming of the run.

    Attributes:
        name: stream name, unique in its run.
        kind: what its frames are.
        num: number of triggers, and of frames wanted.
        exposure_us: length of the gate, microseconds.
        period_us: from the start of one exposure to the start of the next, microseconds; in "list" and "step" the
            shortest that the detector allows.
        motion: what rotation does. "rest": nothing. "sweep": constant speed, equally spaced. "list": constant speed,
            triggered at each angle. "step": a move before each exposure. "free": turning, without regard to angles.
            "rows": it is one of the two motors of a map, and turns in each row or between them.
        angles_deg: planned angle at the MIDDLE of each exposure, empty at rest.
        parked_deg: where rotation nominally stands during "rest" (after a sweep: at its last angle), NaN if nothing is
            known; elsewhere the first angle.
        speed_deg_s: speed of a "sweep", a "list" or a "free" rotation, negative if angles fall; 0 elsewhere.
        travels: translations that accompany the exposures.
        every_position: a "sweep" is triggered at each angle by position compare instead of in time.
        instead_of: name of the segment of which rows are measured again here, "" for none.
    """

    name: str
    kind: Kind
    num: int
    exposure_us: int
    period_us: int
    motion: Motion = "rest"
    angles_deg: tuple[float, ...] = ()
    parked_deg: float = math.nan
    speed_deg_s: float = 0.0
    travels: tuple[Travel, ...] = ()
    every_position: bool = False
    instead_of: str = ""

    @property
    def exposure_s(self) -> float:
        """Length of the gate, seconds."""
        return self.exposure_us / 1e6

    @property
    def period_s(self) -> float:
        """From the start of one exposure to the start of the next, seconds."""
        return self.period_us / 1e6

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
    def frame_angles_deg(self) -> NDArray[np.float64]:
        """Planned angle of each frame, shape (num,), degrees; where rotation is parked, or NaN, for phases at rest."""
        return np.asarray(self.angles_deg, float) if self.angles_deg else np.full(self.num, self.parked_deg)


def period_us(exposure_s: float, latency_s: float, readout_s: float) -> tuple[int, int]:
    """Exposure and period in the sequencer's whole microseconds.

    The gate has to fall between two exposures, so a period is at least one microsecond longer than its exposure.
    """
    exposure = max(1, round(exposure_s * 1e6))
    dead = max(1, math.ceil(max(latency_s, readout_s) * 1e6 - 1e-6))
    return exposure, exposure + dead


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
    return Phase(name or STREAMS[kind], kind, num, exposure, period)


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
    return as_sweep(stepping("projection", angles, exposure_s, readout_s, name), start_deg, end_deg)


def stepping(
    kind: Kind,
    angles_deg: Sequence[float] | NDArray[np.float64],
    exposure_s: float,
    readout_s: float = 0.0,
    name: str = "",
) -> Phase:
    """Exposures at angles at which rotation stops.

    Raises:
        ScanError: a number is out of range.
    """
    angles = tuple(float(angle) for angle in angles_deg)
    exposure, period = _checked_period_us(len(angles), exposure_s, readout_s)
    return Phase(name or STREAMS[kind], kind, len(angles), exposure, period, "step", angles, angles[0])


def _checked_period_us(num: int, exposure_s: float, readout_s: float) -> tuple[int, int]:
    if num < 1:
        raise ScanError(f"num = {num}: at least 1 exposure is needed")
    if not exposure_s > 0 or not math.isfinite(exposure_s):
        raise ScanError(f"exposure = {exposure_s} s: an exposure takes time; give more than 0 s")
    return period_us(exposure_s, 0.0, readout_s)


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
        **({"angles_deg": list(phase.angles_deg)} if phase.motion in ("list", "step", "rows") else {}),
        **(
            {"first_deg": phase.angles_deg[0], "last_deg": phase.angles_deg[-1]}
            if phase.angles_deg and phase.motion in ("sweep", "free")
            else {}
        ),
        **({"speed_deg_s": phase.speed_deg_s} if phase.speed_deg_s else {}),
        **({"instead_of": phase.instead_of} if phase.instead_of else {}),
        **({"travels": [travel.model_dump(exclude={"kind"}) for travel in phase.travels]} if phase.travels else {}),
    }


def planned_angles_deg(segment: Mapping[str, Any]) -> NDArray[np.float64]:
    """Planned mid-exposure angles of a segment, from what `segment_metadata` says of it.

    Returns:
        degrees, shape (num,), NaN where nothing was planned or known.
    """
    num = int(segment["num"])
    if segment.get("angles_deg"):
        return np.asarray(segment["angles_deg"], float)
    if "first_deg" in segment:
        return np.linspace(float(segment["first_deg"]), float(segment["last_deg"]), num)
    return np.full(num, float(segment.get("parked_deg", math.nan)))


def as_sweep(phase: Phase, first_deg: float, last_deg: float, angles_deg: NDArray[np.float64] | None = None) -> Phase:
    """A stepped phase as a sweep. Its speed follows from the rounded period, so that no error builds up."""
    if first_deg == last_deg:
        raise ScanError(f"{phase.name}: a sweep from {first_deg:g} to {last_deg:g} degrees does not move; rest instead")
    middles = np.linspace(first_deg, last_deg, phase.num) if angles_deg is None else angles_deg
    speed = float(last_deg - first_deg) / ((phase.num - 1) * phase.period_s)
    angles = tuple(float(angle) for angle in middles)
    return dataclasses.replace(phase, motion="sweep", angles_deg=angles, parked_deg=angles[0], speed_deg_s=speed)
