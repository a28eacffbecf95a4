"""What a plan needs of a motor and of a 2D detector: any device that has these can be measured with.

`devices.motor.Motor` and `devices.camera.Camera` have them, and so have those of EPICS in `devices.epics`. A signal is
one of ophyd-async, so that it has units, limits and a time.
"""

from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from bluesky.protocols import Flyable, Preparable, Stageable
from ophyd_async.core import AsyncReadable, PathProvider, SignalR, SignalRW

from danmax_bluesky.config import DetectorSettings, Settings


@runtime_checkable
class MotorDevice(AsyncReadable, Stageable, Preparable, Flyable, Protocol):
    """A motor that moves to a position, and flies (`prepare` with a FlyMotorInfo, `kickoff`, `complete`).

    `stop` returns when the motor rests, and gives it back the velocity that it had before a flight. Its reading bears
    its own name.

    Attributes:
        tolerance: distance from the setpoint, in the motor's units, at which a resting motor has arrived.
        readback: where it is, in its units.
        velocity: in units/s.
        max_velocity: in units/s.
        acceleration_time: from rest to its velocity, seconds.
        low_limit: the smallest position that it may be sent to.
        high_limit: the largest.
        moving: False once it rests.
    """

    @property
    def tolerance(self) -> float: ...  # noqa: D102
    @property
    def readback(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def velocity(self) -> SignalRW[float]: ...  # noqa: D102
    @property
    def max_velocity(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def acceleration_time(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def low_limit(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def high_limit(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def moving(self) -> SignalR[bool]: ...  # noqa: D102
    @property
    def movable_logic(self) -> Any: ...  # noqa: D102
    def set(self, new_position: float) -> Any: ...  # noqa: D102
    async def stop(self, success: bool = False) -> None: ...  # noqa: D102


@runtime_checkable
class FrameDetector(AsyncReadable, Stageable, Preparable, Flyable, Protocol):
    """A 2D detector that writes its own file: a `devices.segments.SegmentedDetector` with these signals.

    It is armed once for a whole scan (`prepare` with EXTERNAL_LEVEL: a gate is an exposure), or once for each exposure.

    Attributes:
        rearms: False if its file and its counts begin anew with every arming, which a scan of points cannot use.
        has_counters: True if its file holds the number of the trigger and the time of each frame.
        dataset: HDF5 path of the frames in its file, shape (n_frames, height, width).
        exposure_time: of an exposure that the detector times by itself, seconds.
        readout_time: from the end of an exposure to the earliest start of the next, seconds.
        num_frames: of an arming.
        file_path: absolute path of the file that it writes.
        label: what its frames are, such as "dark"; empty between phases.
        dark_file: where its latest dark frames are, as file::dataset[first:end].
        white_file: where its latest flat frames are, likewise.
        problem: what keeps it from writing, in its own words; "" if nothing does.
        frames_written: in the present file.
        width: of a frame, pixels.
        height: of a frame, pixels.
    """

    @property
    def rearms(self) -> bool: ...  # noqa: D102
    @property
    def has_counters(self) -> bool: ...  # noqa: D102
    @property
    def dataset(self) -> str: ...  # noqa: D102
    @property
    def exposure_time(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def readout_time(self) -> SignalR[float]: ...  # noqa: D102
    @property
    def num_frames(self) -> SignalR[int]: ...  # noqa: D102
    @property
    def file_path(self) -> SignalR[str]: ...  # noqa: D102
    @property
    def label(self) -> SignalRW[str]: ...  # noqa: D102
    @property
    def dark_file(self) -> SignalRW[str]: ...  # noqa: D102
    @property
    def white_file(self) -> SignalRW[str]: ...  # noqa: D102
    @property
    def problem(self) -> SignalR[str]: ...  # noqa: D102
    @property
    def frames_written(self) -> SignalR[int]: ...  # noqa: D102
    @property
    def width(self) -> SignalR[int]: ...  # noqa: D102
    @property
    def height(self) -> SignalR[int]: ...  # noqa: D102
    @cached_property
    def events_to_kickoff(self) -> SignalRW[int]: ...  # noqa: D102
    @property
    def stall_timeout(self) -> SignalRW[float]: ...  # noqa: D102
    @property
    def triggers_done(self) -> SignalRW[bool]: ...  # noqa: D102
    @property
    def frames_missing(self) -> SignalR[int]: ...  # noqa: D102


class MakeDetector(Protocol):
    """Makes a detector, without connecting it: what an entry point of the group `danmax_bluesky.detectors` names."""

    def __call__(
        self, name: str, detector: DetectorSettings, settings: Settings, path_provider: PathProvider
    ) -> FrameDetector:
        """A detector.

        Args:
            name: of the detector.
            detector: its own settings.
            settings: of the session.
            path_provider: tells it where to write.
        """
        ...
