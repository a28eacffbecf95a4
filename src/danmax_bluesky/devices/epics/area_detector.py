"""A camera of areaDetector that writes its own file with the HDF5 plugin, armed once for a whole scan.

    AreaDetectorCamera("pva://I99:CAM:", path_provider, "orca", readout_s=0.001)

The driver has a TriggerMode; what its choices are called differs from make to make. The plugin writes the frames to
/entry/data/data. areaDetector counts the frames that it has, not the triggers that it saw: a frame that is lost can be
told from the others only by how many there are, and the files then say that angles are uncertain.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from ophyd_async.core import (
    DetectorTriggerLogic,
    PathProvider,
    SignalDict,
    SignalR,
    SignalRW,
    TriggerInfo,
    soft_signal_r_and_setter,
    soft_signal_rw,
)
from ophyd_async.epics.adcore import (
    ADAcquireLogic,
    ADBaseIO,
    ADImageMode,
    ADWriterFactory,
    AreaDetector,
    NDFileHDF5IO,
)
from ophyd_async.epics.core import PvSuffix

from danmax_bluesky.config import DetectorSettings, Settings
from danmax_bluesky.devices.segments import SegmentedDetector

DATASET = "/entry/data/data"
CHOICES: Mapping[str, str] = {"internal": "Internal", "edge": "External", "level": "Bulb"}
"""What the choices of TriggerMode are called, where the settings do not name them otherwise."""


class TriggeredDriver(ADBaseIO):
    """A driver with a trigger mode, whose choices are texts."""

    trigger_mode: Annotated[SignalRW[str], PvSuffix.rbv("TriggerMode")]


class AreaDetectorCamera(AreaDetector[TriggeredDriver], SegmentedDetector):
    """A camera.

    Args:
        prefix: of its process variables; "pva://" in front asks for PVAccess, else it is Channel Access.
        path_provider: tells the file for a data key.
        name: of the detector, and of its data key.
        readout_s: dead time between two exposures, seconds, which areaDetector does not tell.
        level_trigger: True if the gate of the trigger can be the exposure.
        choices: internal, edge, level -> what TriggerMode calls it, where it is not as in `CHOICES`.
        driver: what the process variables of the driver begin with, after the prefix.
        writer: what those of the HDF5 plugin begin with, after the prefix.
    """

    hdf: NDFileHDF5IO
    has_counters = False
    dataset = DATASET
    rearms = True

    def __init__(
        self,
        prefix: str,
        path_provider: PathProvider,
        name: str = "",
        *,
        readout_s: float = 0.0,
        level_trigger: bool = True,
        choices: Mapping[str, str] | None = None,
        driver: str = "cam1:",
        writer: str = "HDF1:",
    ) -> None:
        self.readout_time, _ = soft_signal_r_and_setter(float, readout_s, units="s")
        self.problem, _ = soft_signal_r_and_setter(str, "")
        self.label = soft_signal_rw(str, "")
        self.dark_file = soft_signal_rw(str, "")
        self.white_file = soft_signal_rw(str, "")
        made = TriggeredDriver(f"{prefix}{driver}")
        trigger = LevelTriggerLogic if level_trigger else EdgeTriggerLogic
        super().__init__(
            made,
            prefix,
            ADWriterFactory.hdf(path_provider, writer),
            acquire_logic=ADAcquireLogic(made),
            trigger_logic=trigger(made, self.readout_time, {**CHOICES, **(choices or {})}),
            name=name,
        )

    @property
    def exposure_time(self) -> SignalRW[float]:
        """Of an exposure that it times by itself, seconds."""
        return self.driver.acquire_time

    @property
    def num_frames(self) -> SignalRW[int]:
        """Of an arming."""
        return self.driver.num_images

    @property
    def file_path(self) -> SignalR[str]:
        """Absolute path of the file that it writes."""
        return self.hdf.full_file_name

    @property
    def frames_written(self) -> SignalR[int]:
        """In the present file."""
        return self.hdf.num_captured

    @property
    def width(self) -> SignalR[int]:
        """Of a frame, pixels."""
        return self.driver.array_size_x

    @property
    def height(self) -> SignalR[int]:
        """Of a frame, pixels."""
        return self.driver.array_size_y


class EdgeTriggerLogic(DetectorTriggerLogic):
    """Exposures that the driver times by itself, at once or from a rising edge."""

    def __init__(self, driver: TriggeredDriver, readout_time: SignalR[float], choices: Mapping[str, str]) -> None:
        self.driver = driver
        self.readout_time = readout_time
        self.choices = choices

    def config_sigs(self) -> set[SignalR]:
        """What describes an exposure, beside its times, which are recorded already."""
        return {self.readout_time, self.driver.trigger_mode}

    def get_deadtime(self, config_values: SignalDict) -> float:
        """Seconds between the end of an exposure and the earliest start of the next."""
        return float(config_values[self.readout_time])

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        """`num` exposures of `livetime` seconds, `deadtime` seconds (0: as short as it can be) apart."""
        exposure_s = livetime or await self.driver.acquire_time.get_value()
        await self._set("internal", num, exposure_s)
        await self.driver.acquire_period.set(exposure_s + (deadtime or await self.readout_time.get_value()))

    async def prepare_edge(self, num: int, livetime: float) -> None:
        """`num` exposures of `livetime` seconds from rising edges."""
        await self._set("edge", num, livetime)

    async def default_trigger_info(self) -> TriggerInfo:
        """One internal exposure of the time that is set."""
        return TriggerInfo(livetime=await self.driver.acquire_time.get_value())

    async def _set(self, mode: str, num: int, exposure_s: float = 0.0) -> None:
        await asyncio.gather(
            self.driver.trigger_mode.set(self.choices[mode]),
            self.driver.image_mode.set(ADImageMode.MULTIPLE),
            self.driver.num_images.set(num),
        )
        if exposure_s:
            await self.driver.acquire_time.set(exposure_s)


class LevelTriggerLogic(EdgeTriggerLogic):
    """Also exposures that last as long as the gate of the trigger."""

    async def prepare_level(self, num: int) -> None:
        """`num` exposures, each as long as its gate."""
        await self._set("level", num)


def make(name: str, detector: DetectorSettings, settings: Settings, path_provider: PathProvider) -> AreaDetectorCamera:
    """A camera of the settings: `address` is the prefix of its process variables, `attributes` name the choices."""
    return AreaDetectorCamera(
        detector.address,
        path_provider,
        name,
        readout_s=detector.readout_s,
        level_trigger=detector.level_trigger,
        choices=detector.attributes,
    )
