"""A 2D detector that writes its own file and can be armed once for a whole scan.

What the hardware behind the signals promises, whichever control system it belongs to:

- Writing `file_path` announces a new file and sets `frames_written` and `frames_triggered` to 0. They count up from
  there, over any number of armings into the same file, until the next `file_path`. A detector that begins anew with
  each arming (LIMA) says so with `rearms=False`: it serves scans that arm once.
- `arm` gets ready for `num_frames` exposures in `trigger_mode`, opening the file if it is not open; with "INTERNAL" it
  starts them. `armed` then becomes True. `disarm` ends everything, closes the file, and sets `armed` to False.
- The file holds /entry/instrument/<name>/data (n, height, width), and beside it frame_number (the hardware's counter
  of the trigger, which counts lost frames too) and timestamp (POSIX seconds). A detector that has its frames elsewhere
  has no such counters: a frame that is lost then can be told from the others only by how many there are.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
from ophyd_async.core import (
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTriggerLogic,
    DeviceConnector,
    PathProvider,
    SignalDict,
    SignalR,
    SignalRW,
    StreamableDataProvider,
    StreamResourceDataProvider,
    StreamResourceInfo,
    StrictEnum,
    TriggerableCommand,
    TriggerInfo,
    wait_for_value,
)

from danmax_bluesky.devices.connect import SoftConnector
from danmax_bluesky.devices.segments import SegmentedDetector
from danmax_bluesky.errors import DeviceError

MIMETYPE = "application/x-hdf5"
SCALARS_PER_CHUNK = 1024
ARM_TIMEOUT_S = 30.0


class TriggerMode(StrictEnum):
    """What starts and ends an exposure."""

    INTERNAL = "INTERNAL"
    EDGE = "EXTERNAL_EDGE"
    LEVEL = "EXTERNAL_LEVEL"


class Camera(SegmentedDetector):
    """A 2D detector.

    Args:
        path_provider: tells the file for a data key.
        name: of the detector, of its data key, and of its group in the file.
        connector: of the control system; None makes soft signals.
        level_trigger: True if the gate of the trigger can be the exposure (EXTERNAL_LEVEL); else only its rising edge
            is seen and `exposure_time` is the exposure.
        dataset: of the frames in its file, if that is laid out otherwise.
        rearms: False if its counts and its file begin anew with every arming, which a scan of points then cannot use.
    """

    exposure_time: SignalRW[float]
    frame_period: SignalRW[float]
    readout_time: SignalR[float]
    trigger_mode: SignalRW[TriggerMode]
    num_frames: SignalRW[int]
    file_path: SignalRW[str]
    label: SignalRW[str]
    dark_file: SignalRW[str]
    white_file: SignalRW[str]
    armed: SignalR[bool]
    problem: SignalR[str]
    frames_written: SignalR[int]
    frames_triggered: SignalR[int]
    width: SignalR[int]
    height: SignalR[int]
    dtype: SignalR[str]
    arm: TriggerableCommand
    disarm: TriggerableCommand

    def __init__(
        self,
        path_provider: PathProvider,
        name: str = "",
        connector: DeviceConnector | None = None,
        *,
        level_trigger: bool = True,
        dataset: str = "",
        rearms: bool = True,
    ) -> None:
        self._dataset = dataset
        self.rearms = rearms
        connector = connector or SoftConnector()
        connector.create_children_from_annotations(self)
        trigger = LevelTriggerLogic(self) if level_trigger else CameraTriggerLogic(self)
        self.add_detector_logics(trigger, CameraAcquireLogic(self), CameraDataLogic(self, path_provider))
        super().__init__(name=name, connector=connector)

    @property
    def has_counters(self) -> bool:
        """True if its file tells the trigger and the time of each frame."""
        return not self._dataset

    @property
    def dataset(self) -> str:
        """Of the frames in its file."""
        return self._dataset or f"/entry/instrument/{self.name}/data"


class CameraTriggerLogic(DetectorTriggerLogic):
    """Internal exposures, and exposures of a set time from a rising edge."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera

    def config_sigs(self) -> set[SignalR]:
        """What describes an exposure."""
        return {self.camera.exposure_time, self.camera.readout_time, self.camera.trigger_mode}

    def get_deadtime(self, config_values: SignalDict) -> float:
        """Seconds between the end of an exposure and the earliest start of the next."""
        return float(config_values[self.camera.readout_time])

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        """`num` exposures of `livetime` seconds, `deadtime` seconds (0: as short as it can be) apart."""
        readout_s = await self.camera.readout_time.get_value()
        exposure_s = livetime or await self.camera.exposure_time.get_value()
        if deadtime and deadtime < readout_s:
            raise DeviceError(
                f"{self.camera.name}: {deadtime:g} s between exposures is less than its readout of {readout_s:g} s; "
                f"leave at least {readout_s:g} s"
            )
        await self._set(TriggerMode.INTERNAL, num, livetime)
        await self.camera.frame_period.set(exposure_s + (deadtime or readout_s))

    async def prepare_edge(self, num: int, livetime: float) -> None:
        """`num` exposures of `livetime` seconds from rising edges."""
        await self._set(TriggerMode.EDGE, num, livetime)

    async def _set(self, mode: TriggerMode, num: int, livetime: float = 0.0) -> None:
        await asyncio.gather(self.camera.trigger_mode.set(mode), self.camera.num_frames.set(num))
        if livetime:
            await self.camera.exposure_time.set(livetime)

    async def default_trigger_info(self) -> TriggerInfo:
        """One internal exposure of the time that is set."""
        return TriggerInfo(livetime=await self.camera.exposure_time.get_value())


class LevelTriggerLogic(CameraTriggerLogic):
    """Also exposures that last as long as the gate of the trigger."""

    async def prepare_level(self, num: int) -> None:
        """`num` exposures, each as long as its gate."""
        await self._set(TriggerMode.LEVEL, num)


class CameraAcquireLogic(DetectorAcquireLogic):
    """Arms and disarms."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera

    async def start_acquiring(self) -> None:
        """Arm, and wait until the camera says that it is."""
        await self._until(True, self.camera.arm)

    async def wait_for_idle(self) -> None:
        """A camera whose last frame is written has nothing left to do; its file stays open until it is unstaged."""

    async def ensure_stopped(self) -> None:
        """Disarm, and wait until the file is closed."""
        await self._until(False, self.camera.disarm)

    async def _until(self, armed: bool, command: TriggerableCommand) -> None:
        try:
            async with asyncio.timeout(ARM_TIMEOUT_S):
                await command.trigger(timeout=None)
                await wait_for_value(self.camera.armed, armed, timeout=None)
        except TimeoutError:
            raise DeviceError(
                f"{self.camera.name}: not {'armed' if armed else 'disarmed'} after {ARM_TIMEOUT_S:g} s; "
                "look at the camera's server"
            ) from None


class CameraDataLogic(DetectorDataLogic):
    """Tells the camera where to write, and describes what it writes."""

    def __init__(self, camera: Camera, path_provider: PathProvider) -> None:
        self.camera = camera
        self.path_provider = path_provider

    async def prepare_unbounded(self, datakey_name: str) -> StreamableDataProvider:
        """Announce a new file, and describe its datasets."""
        path = self.path_provider(datakey_name)
        await self.camera.file_path.set(str(path.directory_path / f"{path.filename}.h5"))
        height, width, dtype = await asyncio.gather(
            self.camera.height.get_value(), self.camera.width.get_value(), self.camera.dtype.get_value()
        )
        resources = [
            StreamResourceInfo(
                data_key=datakey_name,
                shape=(height, width),
                chunk_shape=(1, height, width),
                dtype_numpy=np.dtype(dtype).str,
                parameters={"dataset": self.camera.dataset},
            )
        ]
        if self.camera.has_counters:
            group = self.camera.dataset.removesuffix("/data")
            resources.append(_scalar(f"{datakey_name}_frame_number", "<u4", f"{group}/frame_number"))
            resources.append(_scalar(f"{datakey_name}_timestamp", "<f8", f"{group}/timestamp"))
        return StreamResourceDataProvider(
            uri=f"{path.directory_uri}{path.filename}.h5",
            resources=resources,
            mimetype=MIMETYPE,
            collections_written_signal=self.camera.frames_written,
        )

    def get_hinted_fields(self, datakey_name: str) -> Sequence[str]:
        """The frames."""
        return [datakey_name]


def _scalar(data_key: str, dtype: str, dataset: str) -> StreamResourceInfo:
    return StreamResourceInfo(
        data_key=data_key,
        shape=(),
        chunk_shape=(SCALARS_PER_CHUNK,),
        dtype_numpy=dtype,
        parameters={"dataset": dataset},
    )
