"""The devices of one acquisition, as plans see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bluesky.protocols import Readable
from ophyd_async.core import StandardFlyable

from danmax_bluesky.devices.figures_of_merit import Integrals
from danmax_bluesky.devices.homes import Homes
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.protocols import FrameDetector, MotorDevice
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.errors import ScanError
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.tomography.triggers import EncoderScale


@dataclass(frozen=True)
class Rig:
    """What takes part in an acquisition.

    Attributes:
        cameras: every 2D detector there is, by name.
        detectors: those that are armed, in the order of the files.
        panda: sends the triggers and captures the encoder.
        sequencer: the PandA's sequencer as a flyer.
        rotation: the axis whose encoder the PandA compares and captures.
        scale: counts of that encoder and degrees.
        position_source: position bus of the PandA that carries the encoder.
        shutter: the fast shutter.
        motors: every motor there is, by name, rotation among them.
        ring_current: mA in the storage ring.
        min_ring_current_ma: below this there is no beam.
        trigger_outputs: name of a detector -> output of the sequencer that it listens to.
        stall_s: name of a detector -> how long it may write nothing while triggers come, seconds.
        metadata: what every start document says, whatever the plan.
        monitor: tells how much beam there is behind the shutter; None if nothing does.
        counters: those that are connected now, which are read at every position of a step scan.
        latest_scan: the number of the scan that began last, None before the first.
        snapshot: those devices that are connected now, which are read at the start and at the end of each run.
        homes: where the motors stood that a scan has taken away.
        integrals: name of a detector -> what the integration says of its latest frame; empty where nothing integrates.
        encoders: of the other motors that are wired to the PandA, name -> its scale and its position bus.
        with_scalars: reads the scalars of a run from the detectors' files, as `storage.scalars.load_scalars` does.
    """

    cameras: Mapping[str, FrameDetector]
    detectors: tuple[FrameDetector, ...]
    panda: Panda
    sequencer: StandardFlyable
    rotation: MotorDevice
    scale: EncoderScale
    position_source: str
    shutter: Shutter
    motors: Mapping[str, MotorDevice]
    ring_current: RingCurrent
    min_ring_current_ma: float
    trigger_outputs: Mapping[str, str]
    stall_s: Mapping[str, float]
    metadata: Mapping[str, Any]
    snapshot: Callable[[], Sequence[Readable]] = tuple
    monitor: Readable | None = None
    counters: Callable[[], Sequence[Readable]] = tuple
    latest_scan: Callable[[], int | None] = lambda: None
    homes: Homes = field(default_factory=Homes)
    integrals: Mapping[str, Integrals] = field(default_factory=dict)
    encoders: Mapping[str, tuple[EncoderScale, str]] = field(default_factory=dict)
    with_scalars: Callable[[RunRecord], RunRecord] = lambda record: record

    def with_detectors(self, names: tuple[str, ...]) -> "Rig":
        """The same rig with these detectors armed.

        Raises:
            ScanError: a name is no detector of this beamline.
        """
        unknown = [name for name in names if name not in self.cameras]
        if unknown:
            raise ScanError(
                f"detector {', '.join(unknown)}: there is none; there are {', '.join(sorted(self.cameras))}"
            )
        return replace(self, detectors=tuple(self.cameras[name] for name in names))

    @property
    def integrated(self) -> dict[str, Integrals]:
        """The integrals of the detectors that are armed."""
        return {name: self.integrals[name] for name in (d.name for d in self.detectors) if name in self.integrals}

    def motor(self, name: str) -> MotorDevice:
        """A motor by its name.

        Raises:
            ScanError: there is none of this name.
        """
        if name not in self.motors:
            raise ScanError(f"motor {name}: there is none; there are {', '.join(sorted(self.motors))}")
        return self.motors[name]
