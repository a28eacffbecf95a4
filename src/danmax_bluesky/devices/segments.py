"""One arming, many segments: detectors whose every kickoff announces frames of its own.

A tomography arms its detectors once and then takes darks, flats and projections, each a stream of its own. The stock
provider announces ONE StreamResource for all frames of an arming, so that a catalogue files all of them under the
first stream. `SegmentedDetector` opens a new segment with every `kickoff`: a StreamResource of its own with
`parameters["slice"] = "start:stop"` (rows of the dataset), and StreamDatum indices that restart at 0.

    det.prepare(TriggerInfo(trigger=EXTERNAL_LEVEL, number_of_events=total, exposure_timeout=...))   # arms, once
    for each segment:
        declare_stream(det, ..., name=segment, collect=True)
        abs_set(det.events_to_kickoff, n); kickoff(det); start the triggers; complete(det); collect(det, ...)
        abs_set(det.triggers_done, True)      # when the source of the triggers says that it is done

Frames that never come do not hang `complete`:

- Once `triggers_done` is True, `complete` ends as soon as no frame came for `stall_timeout` seconds (default 2 s; set
  it to a few exposures). It does not raise: `frames_missing` holds how many of the segment's frames are not there.
- `await det.abandon()` ends it at once, in the same way.
- While `triggers_done` is False, the arming's `exposure_timeout` is the longest wait for a frame; then
  `AcquisitionError` is raised. Give `prepare` an `exposure_timeout` longer than the longest pause between triggers.

Signals, all soft: `stall_timeout` (s, rw), `triggers_done` (bool, rw; every kickoff resets it), `frames_missing`
(r; of the segment completed last; 0 from kickoff on), `frames_late` (r; frames of an earlier segment that came after
its `complete`, summed over the arming). Frames that came between segments and that no segment is owed mean a trigger
nobody planned: `kickoff` raises `AcquisitionError`, as frame numbers can no longer be told.

`get_index` and `collect_asset_docs` count WITHIN the segment, so that detectors which lost different numbers of frames
are still collected in step. Rows of the other detectors beyond the shortest stay undocumented, but are in their files:
`slice` always spans the planned number.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any

from bluesky.protocols import StreamAsset
from event_model import ComposeStreamResource, ComposeStreamResourceBundle, DataKey
from ophyd_async.core import (
    AsyncStatus,
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTriggerLogic,
    DeviceConnector,
    StandardDetector,
    StreamableDataProvider,
    StreamResourceDataProvider,
    TriggerInfo,
    WatchableAsyncStatus,
    WatcherUpdate,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from danmax_bluesky.devices.connect import woken_by
from danmax_bluesky.errors import AcquisitionError


class SegmentedProvider(StreamableDataProvider):
    """Wraps a provider of HDF5 datasets; each segment announces its own slice of them.

    Until the first segment is opened everything counts as one, so that `trigger` and `read` work as they always do.
    """

    def __init__(self, inner: StreamResourceDataProvider) -> None:
        self.inner = inner
        self.collections_written_signal = inner.collections_written_signal
        self.start = 0
        self._bundles: Sequence[ComposeStreamResourceBundle] = inner.bundles
        self._announced = False
        self._sent = 0

    async def make_datakeys(self, collections_per_event: int) -> dict[str, DataKey]:
        """Data keys whose shape is that of one row: (height, width), not (1, height, width)."""
        keys = await self.inner.make_datakeys(collections_per_event)
        if collections_per_event == 1:
            for resource in self.inner.resources:
                keys[resource.data_key]["shape"] = list(resource.shape)
        return keys

    def open_segment(self, start: int, count: int) -> None:
        """Announce from now on rows `start` to `start + count` of every dataset, as a resource of their own."""
        compose = ComposeStreamResource()
        mimetype = self.inner.bundles[0].stream_resource_doc["mimetype"] if self.inner.bundles else ""
        self.start, self._sent, self._announced = start, 0, False
        self._bundles = [
            compose(
                mimetype=mimetype,
                uri=self.inner.uri,
                data_key=resource.data_key,
                parameters={
                    "chunk_shape": list(resource.chunk_shape),
                    **resource.parameters,
                    "slice": f"{start}:{start + count}",
                },
                uid=None,
                validate=True,
            )
            for resource in self.inner.resources
        ]

    async def make_stream_docs(
        self, collections_written: int, collections_per_event: int
    ) -> AsyncIterator[StreamAsset]:
        """Documents for what is new, `collections_written` being counted from the start of the segment."""
        if self.inner.flush_signal:
            await self.inner.flush_signal.set(True)
        done = collections_written // collections_per_event
        if done <= self._sent:
            return
        if not self._announced:
            self._announced = True
            for bundle in self._bundles:
                yield "stream_resource", bundle.stream_resource_doc
        first, self._sent = self._sent, done
        for bundle in self._bundles:
            yield "stream_datum", bundle.compose_stream_datum({"start": first, "stop": done})


class SegmentedDataLogic(DetectorDataLogic):
    """Wraps any data logic that provides datasets without bound, and leaves everything else to it."""

    def __init__(self, inner: DetectorDataLogic) -> None:
        self.inner = inner
        self.datakey_suffix = inner.datakey_suffix
        self.provider: SegmentedProvider | None = None

    async def prepare_unbounded(self, datakey_name: str) -> StreamableDataProvider:
        """The wrapped provider."""
        provider = await self.inner.prepare_unbounded(datakey_name)
        if not isinstance(provider, StreamResourceDataProvider):
            raise TypeError(f"{datakey_name}: {type(provider).__name__} cannot be told in segments")
        self.provider = SegmentedProvider(provider)
        return self.provider

    async def stop(self) -> None:
        """Stop the wrapped logic."""
        await self.inner.stop()

    def get_hinted_fields(self, datakey_name: str) -> Sequence[str]:
        """What the wrapped logic hints."""
        return self.inner.get_hinted_fields(datakey_name)


class _WhenAwaited(Awaitable[int]):
    """An answer that is looked for once somebody waits for it."""

    def __init__(self, look: Callable[[], Awaitable[int]]) -> None:
        self._look = look

    def __await__(self) -> Generator[Any, Any, int]:
        return self._look().__await__()


class SegmentedDetector(StandardDetector):
    """A detector that is armed once and collected in segments; see the module."""

    _segmented: Sequence[SegmentedDataLogic] = ()  # those of a subclass come before its __init__ calls ours
    _acquisition: DetectorAcquireLogic | None = None
    _armed: TriggerInfo | None = None  # None until `prepare`
    _opened: TriggerInfo | None = None  # of the segment that was opened last; None until `kickoff`

    def __init__(self, name: str = "", connector: DeviceConnector | None = None) -> None:
        self.stall_timeout = soft_signal_rw(float, 2.0, units="s")
        self.triggers_done = soft_signal_rw(bool, False)
        self.frames_missing, self._set_missing = soft_signal_r_and_setter(int, 0)
        self.frames_late, self._set_late = soft_signal_r_and_setter(int, 0)
        self._start = 0
        self._count = 0
        self._kicked_off = 0  # collections of all segments of this arming
        self._seen: int | None = 0  # collections written when the last segment was completed; None while one is open
        self._base = 0  # collections written before the arming
        self._late = 0
        self._abandoned = False
        self._woken: asyncio.Event | None = None
        super().__init__(name=name, connector=connector)

    def add_detector_logics(self, *logics: DetectorTriggerLogic | DetectorAcquireLogic | DetectorDataLogic) -> None:
        """Add logics; those that provide datasets are wrapped so that they tell them in segments."""
        unbounded = DetectorDataLogic.prepare_unbounded
        for logic in logics:
            if isinstance(logic, DetectorDataLogic) and type(logic).prepare_unbounded is not unbounded:
                self._segmented = [*self._segmented, SegmentedDataLogic(logic)]
                super().add_detector_logics(self._segmented[-1])
            else:
                self._acquisition = logic if isinstance(logic, DetectorAcquireLogic) else self._acquisition
                super().add_detector_logics(logic)

    @property
    def _providers(self) -> list[SegmentedProvider]:
        return [logic.provider for logic in self._segmented if logic.provider]

    async def _written(self) -> int:
        """Collections that every provider has written since the arming."""
        counts = await asyncio.gather(*(p.collections_written_signal.get_value() for p in self._providers))
        return min(counts, default=0)

    async def triggers_captured(self) -> int:
        """Collections in its file, over all armings since it was staged; 0 before the first."""
        return await self._written()

    def _per_event(self) -> int:
        return self._armed.collections_per_event if self._armed else 1

    @AsyncStatus.wrap
    async def stage(self) -> None:
        """Make the detector idle; it has to be armed anew."""
        await super().stage()
        self._armed = self._opened = None

    @AsyncStatus.wrap
    async def prepare(self, value: TriggerInfo) -> None:
        """Arm for all segments together: `value.number_of_events` is their sum."""
        await super().prepare(value)
        self._armed = value
        self._start = self._count = self._kicked_off = self._late = 0
        self._base = self._seen = await self._written()  # of some, arming alone forgets the frames before
        self._set_missing(0)
        self._set_late(0)

    @AsyncStatus.wrap
    async def kickoff(self) -> None:
        """Open the next segment, of `events_to_kickoff` events.

        Raises:
            AcquisitionError: frames came since the last segment that no trigger was planned for.
        """
        count = await self.events_to_kickoff.get_value() * self._per_event()
        written = await self._written()
        if self._seen is not None and written > self._seen:
            self._account_for(written - self._seen, owed=self._kicked_off - (self._seen - self._base))
        for provider in self._providers:
            provider.open_segment(written, count)
        self._start, self._count, self._seen = written, count, None
        self._kicked_off += count
        self._abandoned = False
        self._set_missing(0)
        await self.triggers_done.set(False)
        await super().kickoff()
        self._opened = self._armed

    def _account_for(self, extra: int, owed: int) -> None:
        if extra > owed:
            raise AcquisitionError(
                f"{self.name}: {extra - owed} frame(s) came between two segments without a trigger that was "
                "planned, so frames and triggers no longer match; look for noise on the trigger line, then start again"
            )
        self._late += extra
        self._set_late(self._late)

    async def abandon(self) -> None:
        """End the `complete` in progress now; what is missing then stands in `frames_missing`."""
        self._abandoned = True
        if self._woken:
            self._woken.set()

    @WatchableAsyncStatus.wrap
    async def complete(self) -> AsyncIterator[WatcherUpdate[int]]:
        """Wait for the frames of the segment, no longer than the module's text says.

        Raises:
            AcquisitionError: no frame came for the arming's `exposure_timeout` while triggers were still expected.
        """
        info = self._opened
        if info is None:
            raise AcquisitionError(f"{self.name}: cannot complete a segment before its kickoff")
        per_event = info.collections_per_event
        signals = [provider.collections_written_signal for provider in self._providers]
        async with woken_by(*signals, self.triggers_done) as woken:
            self._woken = woken
            while True:
                woken.clear()
                done = min(await self._written() - self._start, self._count)
                yield WatcherUpdate(
                    name=self.name,
                    current=done // per_event,
                    initial=0,
                    target=self._count // per_event,
                    unit="",
                    precision=0,
                )
                if done >= self._count or self._abandoned:
                    break
                over = await self.triggers_done.get_value()
                limit_s = await self.stall_timeout.get_value() if over else info.exposure_timeout
                try:
                    async with asyncio.timeout(limit_s):
                        await woken.wait()
                except TimeoutError:
                    if await self._written() - self._start > done:
                        continue  # they came while the event loop was held up
                    if over:
                        break
                    self._close_segment(done)
                    raise AcquisitionError(
                        f"{self.name}: no frame for {limit_s:g} s, {done} of {self._count} frames of this segment "
                        "arrived; look whether the camera runs and its trigger is connected"
                    ) from None
        self._close_segment(done)
        if self._acquisition and not self._count - done and self._kicked_off >= info.number_of_collections:
            await self._acquisition.wait_for_idle()

    def _close_segment(self, done: int) -> None:
        self._seen = self._start + done
        self._set_missing(self._count - done)

    def get_index(self) -> Awaitable[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Events of the open segment that are written.

        The RunEngine asks all detectors before it waits for any. A scan that is ended at that moment would leave a
        coroutine behind for which nobody waits, and Python would complain of it.
        """
        return _WhenAwaited(self._index)

    async def _index(self) -> int:
        written = await self._written() - self._start
        return (min(written, self._count) if self._count else written) // self._per_event()

    async def collect_asset_docs(self, index: int | None = None) -> AsyncIterator[StreamAsset]:
        """Documents of the open segment up to `index` events of it."""
        per_event = self._per_event()
        upto = await self._index() if index is None else index
        for provider in self._providers:
            async for document in provider.make_stream_docs(
                collections_written=upto * per_event, collections_per_event=per_event
            ):
                yield document
