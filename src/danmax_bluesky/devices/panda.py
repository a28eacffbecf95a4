"""The PandA, collected in segments, and its blocks as things that fly.

    panda = Panda("PREFIX:", path_provider, name="panda")
    seq = sequencer(panda)              # after the PandA is connected; prepare(SeqTableInfo(...)), kickoff, complete
    pcomp = position_compare(panda)     # prepare(PcompInfo(...)), kickoff, complete

Stage them with the detectors: staging, unstaging and `stop` disable the block, so that no trigger is sent any more.
"""

import asyncio
import contextlib
import math

import numpy as np
from bluesky.protocols import Reading, Stoppable
from ophyd_async.core import (
    AsyncStatus,
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTriggerLogic,
    FlyableLogic,
    PathProvider,
    StandardFlyable,
    StreamableDataProvider,
    StreamResourceDataProvider,
    StreamResourceInfo,
    soft_signal_r_and_setter,
    soft_signal_rw,
)
from ophyd_async.fastcs.panda import (
    DataBlock,
    HDFPanda,
    PandaBitMux,
    PandaCaptureMode,
    SeqTableInfo,
    StaticPcompFlyableLogic,
    StaticSeqTableFlyableLogic,
)

from danmax_bluesky.devices.segments import SegmentedDetector
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.runs.layout import NO_MASTER

START_S = 5.0
BRIEF_S = 1.0
"""A sequence that is shorter may be missed by whoever looks ten times a second, as the PandA's server does."""


ROWS_PER_CHUNK = 1024
"""Of a dataset in the PandA's file, as its server writes them."""


class CaptureLogic(DetectorDataLogic):
    """What the PandA captures goes to `scan-####_<name>.hdf5`, a name that DanMAX's programs take for no master.

    ophyd-async's own logic has no other ending than .h5.

    Args:
        path_provider: tells the folder and the name of the file.
        data_block: of the PandA, which writes it.
    """

    def __init__(self, path_provider: PathProvider, data_block: DataBlock) -> None:
        self._path_provider = path_provider
        self._data = data_block

    async def prepare_unbounded(self, datakey_name: str) -> StreamableDataProvider:
        """Open the file, and tell of each dataset that the PandA's DATASETS table names; one float64 a trigger.

        Raises:
            AcquisitionError: the folder is not there, or the PandA's server may not write to it; or the table is empty.
        """
        path = self._path_provider(datakey_name)
        file_name = f"{path.filename}{NO_MASTER}"
        await self._data.create_directory.set(path.create_dir_depth)  # before the folder, of which it decides
        await asyncio.gather(
            self._data.flush_period.set(0),
            self._data.hdf_directory.set(str(path.directory_path)),
            self._data.hdf_file_name.set(file_name),
            self._data.capture_mode.set(PandaCaptureMode.FOREVER),
        )
        if not await self._data.directory_exists.get_value():
            raise AcquisitionError(
                f"{datakey_name}: its server cannot write to {path.directory_path}; make the folder, and let the "
                "server's user write there"
            )
        await self._data.capture.set(True)
        names = (await self._data.datasets.get_value()).name
        if not len(names):
            raise AcquisitionError(
                f"{datakey_name}: its DATASETS table is empty, so nothing would be captured; name what it captures"
            )
        resources = [
            StreamResourceInfo(
                data_key=name,
                shape=(),
                chunk_shape=(ROWS_PER_CHUNK,),
                dtype_numpy=np.dtype(np.float64).str,
                parameters={"dataset": f"/{name}"},
            )
            for name in names
        ]
        return StreamResourceDataProvider(
            uri=f"{path.directory_uri}{file_name}",
            resources=resources,
            mimetype="application/x-hdf5",
            collections_written_signal=self._data.num_captured,
        )

    async def stop(self) -> None:
        """Close the file."""
        await self._data.capture.set(False)


class Panda(HDFPanda, SegmentedDetector):
    """Blocks and file of a PandA; every kickoff opens a segment.

    The descriptor of every stream that it is in declares, in the PandA's configuration, which segment the stream is:
    `segment`, JSON text that a plan sets before it declares the stream, and `first_trigger`, the number of the
    segment's first trigger, counted from 0 since the file was begun, as cameras count. So a run says what its frames
    are, whoever composed it.

    Args:
        prefix: of its process variables.
        path_provider: tells where its file goes.
        name: of the device; its data keys are those of its DATASETS table.
    """

    def __init__(self, prefix: str, path_provider: PathProvider, name: str = "") -> None:
        self._segments: list[str] = []
        self._path_provider = path_provider
        self.segment = soft_signal_rw(str, "")
        self.first_trigger, self._set_first_trigger = soft_signal_r_and_setter(int, 0)
        super().__init__(prefix, path_provider, name)
        self.add_config_signals(self.segment, self.first_trigger)

    def add_detector_logics(self, *logics: DetectorTriggerLogic | DetectorAcquireLogic | DetectorDataLogic) -> None:
        """Those of ophyd-async, with another one for the file."""
        ours = CaptureLogic(self._path_provider, self.data)
        super().add_detector_logics(*(ours if isinstance(logic, DetectorDataLogic) else logic for logic in logics))

    def new_segment(self, name: str) -> str:
        """A name for a segment that no other has since it was staged: the one asked for, or that with a number."""
        number = 1
        unique = name
        while unique in self._segments:
            number += 1
            unique = f"{name}_{number:03d}"
        self._segments.append(unique)
        return unique

    @AsyncStatus.wrap
    async def stage(self) -> None:
        """Get ready for a run; its segments are named anew."""
        self._segments.clear()
        await self.segment.set("")  # or a plan that declares none would have that of the run before
        await super().stage()

    async def read_configuration(self) -> dict[str, Reading]:
        """Its settings, with the number of triggers that it captured so far."""
        self._set_first_trigger(await self.triggers_captured())
        return await super().read_configuration()


class _Sequencer(StaticSeqTableFlyableLogic):
    _lasts_s = 0.0

    async def on_prepare(self, value: SeqTableInfo) -> None:
        """Load a table, and see how long it lasts at least."""
        table = value.sequence_table
        ticks = np.sum(table.repeats * (table.time1.astype(float) + table.time2)) * value.repeats
        self._lasts_s = float(ticks) * value.prescale_as_us * 1e-6 if value.repeats else math.inf
        await super().on_prepare(value)

    async def on_kickoff(self, ctx: None) -> None:
        """Begin, and be sure of it; a table of a few milliseconds may be over before anybody saw it run.

        Raises:
            AcquisitionError: it does not run, although it would take long enough to be seen.
        """
        began, key = asyncio.Event(), self.seq.active.name

        def look(readings: dict[str, Reading[bool]]) -> None:
            if readings[key]["value"]:
                began.set()

        limit_s = BRIEF_S if self._lasts_s < BRIEF_S else START_S
        try:
            self.seq.active.subscribe_reading(look)
            await self.seq.enable.set(PandaBitMux.ONE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await began.wait()
        finally:
            self.seq.active.clear_sub(look)
        if not began.is_set() and self._lasts_s >= BRIEF_S:
            raise AcquisitionError(
                f"{self.seq.name} is enabled, and not active {limit_s:g} s later; look at its enable and at its table"
            )


class TriggerSource(StandardFlyable, Stoppable):
    """A block of the PandA that sends triggers while it is enabled."""

    def __init__(self, logic: FlyableLogic, name: str) -> None:
        super().__init__(name=name)
        self.flyable_logic = logic

    async def stop(self, success: bool = True) -> None:
        """Disable the block; a `complete` in progress then ends."""
        await self.flyable_logic.stop()


def sequencer(panda: Panda, number: int = 1, name: str = "") -> TriggerSource:
    """Sequencer `number` of a connected PandA; `prepare` takes a SeqTableInfo."""
    return TriggerSource(_Sequencer(panda.seq[number]), name or f"{panda.name}_seq{number}")


def position_compare(panda: Panda, number: int = 1, name: str = "") -> TriggerSource:
    """Position compare `number` of a connected PandA; `prepare` takes a PcompInfo."""
    return TriggerSource(StaticPcompFlyableLogic(panda.pcomp[number]), name or f"{panda.name}_pcomp{number}")
