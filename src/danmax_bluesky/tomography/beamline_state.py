"""What is known of a beamline before a scan: plain values, read from devices and settings by whoever asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from danmax_bluesky.tomography.triggers import EncoderScale


@dataclass(frozen=True)
class DetectorFacts:
    """A 2D detector.

    Attributes:
        name: its name.
        width: columns, pixels.
        height: rows, pixels.
        bytes_per_pixel: on disk, before compression.
        readout_s: dead time between two exposures, seconds.
        max_rate_hz: frames a second at most.
        level_trigger: True if the gate can be its exposure (EXTERNAL_LEVEL).
        pixel_m: what a pixel sees at the sample, metres; 0 if not known.
        max_bytes_s: what it, or the way to its file, can carry, bytes a second; None if not known.
    """

    name: str
    width: int
    height: int
    bytes_per_pixel: int = 2
    readout_s: float = 0.0
    max_rate_hz: float = 1e6
    level_trigger: bool = True
    pixel_m: float = 0.0
    max_bytes_s: float | None = None

    @property
    def frame_bytes(self) -> int:
        """Size of one frame, bytes."""
        return self.width * self.height * self.bytes_per_pixel


@dataclass(frozen=True)
class MotorFacts:
    """A motor, in its own unit.

    Attributes:
        name: its name.
        position: where it stands.
        low_limit: lowest position allowed.
        high_limit: highest position allowed.
        velocity: at which it moves from place to place.
        max_velocity: the highest allowed.
        acceleration_s: seconds from rest to any speed, and from it to rest.
        settle_s: seconds after a move until it reports that it rests.
        units: "deg" or "mm".
    """

    name: str
    position: float
    low_limit: float
    high_limit: float
    velocity: float
    max_velocity: float
    acceleration_s: float
    settle_s: float = 0.0
    units: str = "mm"

    def move_s(self, distance: float) -> float:
        """Seconds that a move over this distance takes."""
        if not distance:
            return 0.0
        return abs(distance) / self.velocity + self.acceleration_s + self.settle_s


@dataclass(frozen=True)
class FlatPosition:
    """A named place where the sample is out of the beam.

    Attributes:
        moves: motor and position, in the order in which they move.
        rotate_first_deg: angle to turn to before anything else moves, or None.
    """

    moves: tuple[tuple[str, float], ...]
    rotate_first_deg: float | None = None


@dataclass(frozen=True)
class BeamlineFacts:
    """Everything that a preflight looks at. What is None or empty by default was not looked at, and is not judged.

    Attributes:
        detectors: the 2D detectors of the scan, by name.
        active: names of those that a scan takes when it names none.
        motors: the motors of the scan, by name.
        rotation: the motor whose encoder the PandA has.
        scale: of that encoder.
        flat_positions: name -> place; "" is the place in the settings.
        tori: name of a reconstruction settings file -> "" if it can be read, otherwise why not.
        existing_files: files of this scan that exist already.
        folder_problem: why nothing can be written to the scan's folder, or "".
        free_bytes: free on the disk of the scan's folder.
        monitor: True if there is a beam monitor that tells when the beam is stable.
        shutter_s: seconds that the fast shutter takes.
        overhead_s: seconds between two phases that are neither motion nor exposure.
        missing: motors and detectors of the scan that do not answer, by name -> why.
        all_motors: names of those there are, also beside the scan's; empty if there are no others.
        all_detectors: the same of the 2D detectors.
    """

    detectors: Mapping[str, DetectorFacts]
    active: tuple[str, ...]
    motors: Mapping[str, MotorFacts]
    rotation: str
    scale: EncoderScale
    flat_positions: Mapping[str, FlatPosition] | None = None
    tori: Mapping[str, str] | None = None
    existing_files: tuple[str, ...] = ()
    folder_problem: str = ""
    free_bytes: int | None = None
    monitor: bool = False
    shutter_s: float = 0.0
    overhead_s: float = 0.2
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    all_motors: tuple[str, ...] = ()
    all_detectors: tuple[str, ...] = ()
