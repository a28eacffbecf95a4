"""One session, wired in one place: RunEngine, devices, plans, callbacks, catalogue."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from danmax_bluesky.beamlines.beamline import Beamline, make_beamline
from danmax_bluesky.callbacks.buffered import Buffered
from danmax_bluesky.callbacks.catalog import CatalogFeed
from danmax_bluesky.callbacks.dxchange import DXchangeWriter
from danmax_bluesky.callbacks.guard import Guard
from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.callbacks.live_integration import Integrate
from danmax_bluesky.callbacks.nexus import NexusMaster
from danmax_bluesky.callbacks.progress import ProgressBars
from danmax_bluesky.callbacks.provenance_writer import ProvenanceRecorder
from danmax_bluesky.callbacks.reconstruct_slices import Reconstruct
from danmax_bluesky.callbacks.scan_status import ScanRecords
from danmax_bluesky.config import Settings, beamline_folder, changed, load_settings, remember
from danmax_bluesky.config.extensions import load_factory
from danmax_bluesky.devices.environment import recorded_settings
from danmax_bluesky.devices.figures_of_merit import Integrals
from danmax_bluesky.devices.flat_positions import FlatPosition, position_of
from danmax_bluesky.devices.homes import Homes
from danmax_bluesky.devices.panda import sequencer
from danmax_bluesky.devices.paths import ScanPaths, VisitPaths
from danmax_bluesky.errors import AcquisitionError, CatalogError, ScanError, SettingsError
from danmax_bluesky.formats.dxchange_configuration import load_configuration
from danmax_bluesky.live.process import LivePage
from danmax_bluesky.pipelines.catalog.session_catalog import NOT_INSTALLED, CatalogService, tiled_is_installed
from danmax_bluesky.pipelines.worker_messages import Outcome
from danmax_bluesky.plans.disconnects import naming_losses
from danmax_bluesky.plans.endings import Endings, left_behind
from danmax_bluesky.plans.engine import Engine
from danmax_bluesky.plans.interrupts import ending_moves, interruptible
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.run_description import describing_runs
from danmax_bluesky.plans.user import Plans
from danmax_bluesky.reprs import html_table
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.metadata import RunMetadata, refuse_reserved, start_metadata
from danmax_bluesky.scattering.classifiers import NAMES as INTEGRAL_NAMES
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.listing import files_of, how_to_open
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.tomography.triggers import EncoderScale

if TYPE_CHECKING:
    from danmax_bluesky.storage.reading import Scan

CONNECT_TIMEOUT_S = 30.0
_RECORDED_VERSIONS = ("danmax-bluesky", "bluesky", "ophyd-async", "event-model", "h5py", "numpy", "pyFAI")
log = logging.getLogger(__name__)
T = TypeVar("T")


def make_session(settings: Settings | None = None) -> "Session":
    """A session on the beamline that the settings describe, connected and ready to measure.

    Args:
        settings: None takes those of the settings file and the environment; the simulated beamline without either.

    Raises:
        SettingsError: the settings cannot be used.
        StorageError: the data root cannot be written to.
        DeviceError: a device does not answer.
    """
    return Session(settings or load_settings())


class _Engine(Engine):
    """A RunEngine that refuses, before anything moves, metadata that are not a user's to set."""

    def __call__(self, *plan_and_subs: Any, **metadata: Any) -> Any:
        try:
            refuse_reserved(metadata, "RE(..., {key}=...)")
        except ScanError:
            if plan_and_subs and hasattr(plan_and_subs[0], "close"):
                plan_and_subs[0].close()  # it will not run, and must not warn of that
            raise
        return super().__call__(*plan_and_subs, **metadata)


class Session:
    """RunEngine, devices, plans and callbacks, wired once.

    Attributes:
        settings: what the session was made from.
        RE: the RunEngine.
        beamline: every device.
        plans: the plans of the beamline, bound to its devices: `session.RE(session.plans.azint_count(5, 0.1))`.
        paths: folders of the visit and number of the current scan.
        last_run: start document of the run that began last, or None.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        own = {name: _own_callback(name, load_factory("callbacks", name), settings) for name in settings.callbacks}
        visit = VisitPaths.of(settings)
        visit.create()
        self.paths = ScanPaths(visit)
        self.RE = _Engine(
            _metadata(settings),
            scan_id_source=self.paths.claim,
            call_returns_result=False,
            md_validator=lambda _said: None,
            md_normalizer=lambda said: start_metadata(said, _metadata(self.settings)),
        )
        self.metadata = RunMetadata(self.RE.md)
        self._open_runs: set[str] = set()
        homes = Homes(beamline_folder(settings) / "homes.json", earlier=visit.state / "homes.json")
        endings = Endings(homes)
        self.RE.preprocessors += [interruptible(self.RE), endings.watch]
        self.RE.context_managers += [ending_moves, endings.see_off]
        self.last_run: dict[str, Any] | None = None
        self.integration: Integrate | None = None
        self.catalog_service: CatalogService | None = None
        self._live: LivePage | None = None
        self._exit = contextlib.ExitStack()
        self._exit.callback(self._stop_loop)
        try:
            self.beamline: Beamline = self._wait(make_beamline(settings, self.paths))
            self._exit.callback(self.beamline.close)
            self.rig = _rig(settings, self.beamline, self.paths, homes, _integrals(settings, self.RE.loop))
            recipes = [recipe.model_dump(mode="json") for recipe in settings.recipes]
            self.RE.preprocessors.insert(0, describing_runs(self.rig, recipes if settings.formats.integrate else ()))
            self.RE.preprocessors.append(naming_losses(self.beamline.losses))
            self.plans = Plans(self.rig, settings, visit, log.info, self.last_scan)
            self._subscribe()
            for name, consumer in own.items():
                self._guarded(consumer, name)
            self._exit.callback(self._end_plan)
        except BaseException:
            self._exit.close()
            raise

    def show_progress(self, console: Console | None = None) -> None:
        """Print the progress of every run, and what each scan is going to do."""
        out = console or screen(stderr=True)
        self.plans.tell = lambda text: out.print(text, markup=False, highlight=False, soft_wrap=True)
        bars = ProgressBars(out)
        self._guarded(bars, "progress")
        self.RE.state_hook = bars.heed  # type: ignore[assignment]  bluesky says so in words, its annotation does not

    def wait_for_files(self, timeout_s: float = 600.0) -> None:
        """Wait until everything that follows from the runs so far is written: files made by worker processes too.

        Raises:
            AcquisitionError: it took longer, or something failed since this was asked last: a file, a comparison, an
                integration, a reconstruction.
        """
        deadline = time.monotonic() + timeout_s
        waits = [self.telling.wait, self.writing.wait, self.provenance.wait, self.reconstruction.wait]
        problems = []
        for wait in [*waits, *([self.integration.wait] if self.integration else [])]:
            try:
                wait(max(0.0, deadline - time.monotonic()))
            except AcquisitionError as error:
                problems.append(str(error))
        problems += [str(failure) for guard in self.guards for failure in guard.take_failures()]
        if problems:
            raise AcquisitionError("; ".join(dict.fromkeys(problems)))

    def newsample(self, name: str | float) -> None:
        """Another sample is in the beam: its name stands in every scan from now on, also in those of later sessions.

        Args:
            name: of the sample. `RE.md["sample"] = {"name": "bone", "mass_mg": 3}` says more, for this session.

        Raises:
            ScanError: a scan is going on.
            SettingsError: the name cannot be kept.
        """
        self._go_on_with(sample=name)

    def newfolder(self, folder: str | float) -> None:
        """All files of the scans from now on go to another folder below `raw/` and `process/`.

        Args:
            folder: its name; it may have parts, as in day1/bone.

        Raises:
            ScanError: a scan is going on.
            SettingsError: the folder may not be named so, or that it is the folder cannot be kept.
            StorageError: the folder cannot be written to.
        """
        self._go_on_with(folder=folder)

    def newvisit(self, visit: str | float, proposal: str | float = "") -> None:
        """All files of the scans from now on go to another visit, with scan numbers and flat positions of its own.

        The users of the settings, and what was added to `RE.md`, belong to the visit before and are left behind.

        Args:
            visit: its name.
            proposal: that it belongs to; "" if it is of the same proposal.

        Raises:
            ScanError: a scan is going on.
            SettingsError: the visit may not be named so, or that it is the visit cannot be kept.
            StorageError: its folder cannot be written to.
        """
        self._go_on_with(visit=visit, **({"proposal": proposal} if proposal else {}))

    def last_scan(self, timeout_s: float = 600.0) -> "Scan":
        """The last scan as arrays, as `open_scan` gives it, once its files are complete.

        Slices and patterns may follow: `wait_for_files` waits for them too.

        Args:
            timeout_s: how long to wait for the files, seconds.

        Raises:
            AcquisitionError: nothing was measured in this session, the scan is still going on, or its files are not
                written in time.
            StorageError: the scan has no master.
        """
        if self.last_run is None:
            raise AcquisitionError('nothing was measured in this session; open_scan("scan-0001.h5") opens a file')
        if self.last_run["uid"] in self._open_runs:
            raise AcquisitionError(f"scan {self.last_run['scan_id']} is still going on; wait for its end")
        from danmax_bluesky.storage.reading import open_scan  # late: what reads frames takes a second to import

        self.writing.wait(timeout_s)
        return open_scan(ScanFiles.of(self.last_run).master)

    def left_behind(self) -> list[str]:
        """What an earlier session left as it was, because it was killed or its scan was halted; one sentence each."""
        return self._wait(left_behind(self.rig))

    def files(self) -> list[Path]:
        """The files that the last run left behind, detectors' files first."""
        return [] if self.last_run is None else files_of(ScanFiles.of(self.last_run))

    @property
    def metadata(self) -> RunMetadata:
        """`RE.md`: what every start document says, whatever the plan. It refuses reserved keys."""
        if not isinstance(self.RE.md, RunMetadata):
            self.metadata = RunMetadata(self.RE.md)
        return cast(RunMetadata, self.RE.md)

    @metadata.setter
    def metadata(self, metadata: RunMetadata) -> None:
        self.RE.md = metadata  # type: ignore[assignment]  any mapping will do, whatever the annotation says

    @property
    def catalog(self) -> Any:
        """The runs of this beamtime, as a `CatalogOfBlueskyRuns`; waits until the catalogue's server answers.

        Raises:
            CatalogError: the settings turn it off, or it does not answer.
        """
        if self.catalog_service is None:
            if self.settings.catalog.kind != "off":
                raise CatalogError(NOT_INSTALLED)
            raise CatalogError("the catalogue is off; set catalog.kind to embedded or remote")
        return self.catalog_service.connect()

    def position(self, name: str = "") -> FlatPosition:
        """A saved position of the sample out of the beam, as `flats` takes it; "" for that of the settings.

        Raises:
            PositionError: there is none of this name.
        """
        return position_of(self.settings, self.plans.positions, name)

    def live(self) -> LivePage:
        """The page that shows in a browser what a scan is doing; it ends with the session.

        Returns:
            The page; its `address` is to be opened in a browser.

        Raises:
            SettingsError: panel is not installed, or the page could not be served, such as since its port is taken.
        """
        if self._live is None or not self._live.is_running:
            self._live = LivePage(self.settings)
            self._exit.callback(self._live.close)
        return self._live

    @property
    def live_address(self) -> str:
        """Address of the live page that this session serves; "" if it serves none."""
        return self._live.address if self._live is not None and self._live.is_running else ""

    def at_end(self, work: Callable[[], Any]) -> None:
        """Do something when the session is closed, before its devices are."""
        self._exit.callback(work)

    def close(self) -> None:
        """End everything that the session started."""
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        said = self._summary()
        lines = [f"<Session on {said.pop('beamline')}>", *(f"  {name:<13} {text}" for name, text in said.items())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_table("Session", self._summary())

    def _summary(self) -> dict[str, str]:
        """What there is to know of a session at a glance."""
        settings, missing = self.settings, self.beamline.missing
        rows = {
            "beamline": "the simulated beamline" if self.beamline.twin else f"the beamline {settings.beamline}",
            "proposal": f"{settings.proposal}, visit {settings.visit}",
            "sample": settings.sample or "without a name",
            "files go to": str(self.paths.visit.raw),
            "motors": ", ".join(self.beamline.motors),
            "detectors": ", ".join(self.beamline.cameras),
        }
        if missing:
            rows["NOT connected"] = ", ".join(missing)
        if self.last_run is not None:
            rows["last scan"] = (
                f"{self.last_run['scan_id']}: {self.last_run.get('command') or self.last_run['plan_name']}"
            )
        return {**rows, "RunEngine": str(self.RE.state)}

    def files_table(self) -> Table:
        """What the last run left behind, where, and how to open it."""
        files = self.files()
        title = escape(str(files[0].parent)) if files else "no files"
        table = Table(Column("file", overflow="fold"), "size", "open it with", title=title)
        for path in files:
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            table.add_row(escape(os.path.relpath(path, files[0].parent)), size, how_to_open(path))
        return table

    def _subscribe(self) -> None:
        formats = self.settings.formats
        self.RE.subscribe(self._remember)
        self.RE.subscribe(DocumentJournal())
        self.guards: list[Guard] = []
        self.telling = Buffered(self._guard(ScanRecords(self.plans.configurator.update), "scan records"))
        self._exit.callback(self.telling.close)
        self.RE.subscribe(self.telling)
        self.provenance = ProvenanceRecorder(_recorded(self.settings))
        writers = [self._guard(self.provenance, "provenance")]
        if formats.nexus:
            inside = load_configuration(formats.dxchange_configuration) if formats.dxchange == "master" else None
            writers.append(self._guard(NexusMaster(inside), "NeXus master"))
        if formats.dxchange == "file":
            writers.append(self._guard(DXchangeWriter(formats.dxchange_configuration), "DXchange file"))
        self.reconstruction = Reconstruct()
        if formats.reconstruct and formats.nexus:
            writers.append(self._guard(self.reconstruction, "reconstruction"))
        self.writing = Buffered(*writers)
        self._exit.callback(self.reconstruction.close)
        self._exit.callback(self.writing.close)
        self.RE.subscribe(self.writing)
        pattern_subscribers: list[Guard] = []
        kind = self.settings.catalog.kind
        if kind == "embedded" and not tiled_is_installed():
            log.info("%s; runs are measured without it, and `danmax runs --rescan` finds them later", NOT_INSTALLED)
        elif kind != "off":
            self.catalog_service = CatalogService.of(self.settings)
            self.catalog_service.start()
            self._exit.callback(self.catalog_service.close)
            pattern_subscribers = [self._guarded(CatalogFeed(self.catalog_service), "catalogue")]
        if formats.integrate:
            self.RE.subscribe(self._begin_integrals)
            self.integration = Integrate(
                on_done=self._integrated, subscribers=[*self.rig.integrals.values(), *pattern_subscribers]
            )
            self._exit.callback(self.integration.close)
            self._guarded(self.integration, "azimuthal integration")

    def _guarded(self, consumer: Any, name: str) -> Guard:
        guard = self._guard(consumer, name)
        self.RE.subscribe(guard)
        return guard

    def _guard(self, consumer: Any, name: str) -> Guard:
        guard = Guard(consumer, name)
        self.guards.append(guard)
        return guard

    def _begin_integrals(self, name: str, doc: dict[str, Any]) -> None:
        if name in ("start", "stop"):
            for integrals in self.rig.integrals.values():
                integrals.begin(doc["uid"] if name == "start" else "")

    def _integrated(self, run: str, detector: str, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.failed and detector in self.rig.integrals:
                self.rig.integrals[detector].failed(run, outcome.recipe)

    def _remember(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self.last_run = doc
            self._open_runs.add(doc["uid"])
        elif name == "stop":
            self._open_runs.discard(doc["run_start"])

    def _go_on_with(self, **changes: str | float) -> None:
        """Let the next scan begin with another place or sample, and those of later sessions too."""
        texts = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in changes.items()}
        if self._open_runs:
            said = " ".join(f"{key} = {text!r}" for key, text in texts.items())
            raise ScanError(f"{said}: a scan is going on, and its files stay together; end it first")
        settings = changed(self.settings, texts)
        visit = VisitPaths.of(settings)
        visit.create()
        remember(self.settings, texts)
        if visit.state != self.paths.visit.state:
            self.metadata.move(visit.state)
        self.settings = self.plans.settings = settings
        self.paths.visit = visit
        self.provenance.settings = _recorded(settings)
        self.metadata.say(_metadata(settings))
        if "sample" in texts:
            self.metadata.forget("sample")
        self.plans.tell(f"sample {settings.sample or 'without a name'}; files go to {visit.raw}")

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.RE.loop).result(CONNECT_TIMEOUT_S)

    def _end_plan(self) -> None:
        """A plan that is paused is not left as it is: with the shutter open, perhaps, and without an end of its run."""
        if str(self.RE.state) == "paused":
            self.RE.abort("the session was closed")

    def _stop_loop(self) -> None:
        loop, thread = self.RE.loop, self.RE._th  # noqa: SLF001  the RunEngine has no other way to end its loop
        with contextlib.suppress(TimeoutError):
            self._wait(_cancel_what_waits())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CONNECT_TIMEOUT_S)
        if not thread.is_alive():
            loop.close()


async def _cancel_what_waits() -> None:
    """End what still waits in this loop, such as for frames of a scan that was halted: they will not come."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _own_callback(name: str, factory: Callable[[Settings], Any], settings: Settings) -> Callable[[str, Any], Any]:
    """What a user's function makes of the settings; it is called with every document of every run.

    Raises:
        SettingsError: the function fails, or returns nothing that can be called.
    """
    try:
        consumer = factory(settings)
    except Exception as error:
        raise SettingsError(f"setting 'callbacks': {name} failed: {type(error).__name__}: {error}") from error
    if not callable(consumer):
        raise SettingsError(
            f"setting 'callbacks': {name} returned {consumer!r}; it has to return a function of the name and the "
            "content of a document"
        )
    return consumer


def _recorded(settings: Settings) -> dict[str, Any]:
    """The settings as provenance keeps them, without secrets."""
    return settings.model_dump(mode="json", exclude={"catalog": {"api_key"}})


def _metadata(settings: Settings) -> dict[str, Any]:
    """What every start document says, whatever the plan."""
    return {
        "proposal": settings.proposal,
        "visit": settings.visit,
        "folder": settings.folder,
        "data_root": str(settings.data_root),
        "sample": {"name": settings.sample},
        "users": [user.model_dump() for user in settings.users],
        "source": settings.source.model_dump(),
        "beamline": settings.beamline,
        "versions": {name: _version(name) for name in _RECORDED_VERSIONS},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _integrals(settings: Settings, loop: asyncio.AbstractEventLoop) -> dict[str, Integrals]:
    """What the integration will say of each detector that has recipes."""
    recipes: dict[str, list[str]] = {}
    for recipe in settings.recipes if settings.formats.integrate else ():
        recipes.setdefault(recipe.detector, []).append(recipe.name)
    return {name: Integrals(name, names, INTEGRAL_NAMES, loop) for name, names in recipes.items()}


def _rig(
    settings: Settings, beamline: Beamline, paths: ScanPaths, homes: Homes, integrals: Mapping[str, Integrals]
) -> Rig:
    """The devices as plans see them; the active detectors are armed unless a plan is told otherwise."""
    encoder = settings.encoder
    active = [name for name, detector in settings.detectors.items() if detector.active]
    return Rig(
        cameras=beamline.cameras,
        detectors=tuple(beamline.cameras[name] for name in active),
        panda=beamline.panda,
        sequencer=sequencer(beamline.panda),
        rotation=beamline.motors[settings.rotation],
        scale=EncoderScale(encoder.counts_per_deg, encoder.offset_deg, encoder.bits),
        position_source=encoder.source,
        encoders={
            name: (EncoderScale(wired.counts_per_unit, wired.offset, wired.bits), wired.source)
            for name, motor in settings.motors.items()
            if (wired := motor.encoder) is not None
        },
        environment=beamline.environment,
        with_scalars=load_scalars,
        shutter=beamline.shutter,
        motors=beamline.motors,
        ring_current=beamline.ring_current,
        min_ring_current_ma=settings.source.min_ring_current_ma,
        trigger_outputs={name: detector.trigger_output for name, detector in settings.detectors.items()},
        stall_s={name: detector.stall_s for name, detector in settings.detectors.items()},
        metadata={
            "rotation": {
                "motor": settings.rotation,
                "counts_per_deg": encoder.counts_per_deg,
                "offset_deg": encoder.offset_deg,
                "bits": encoder.bits,
            },
            "encoders": {
                name: motor.encoder.model_dump(include={"counts_per_unit", "offset", "bits"}) | {"units": motor.units}
                for name, motor in settings.motors.items()
                if motor.encoder is not None
            },
            "capture": settings.capture.model_dump(),
            "device_names": settings.device_names.model_dump(),
            "channels": dict(settings.channels),
            "environment": recorded_settings(settings.environment),
            "descriptions": {
                name: device.description
                for name, device in (
                    *settings.motors.items(),
                    *settings.snapshot.items(),
                    *settings.environment.items(),
                )
                if device.description
            },
            "detector_settings": {
                name: detector.model_dump(mode="json") for name, detector in settings.detectors.items()
            },
        },
        snapshot=lambda: beamline.snapshot,
        monitor=beamline.beam_monitor,
        counters=lambda: beamline.counters,
        latest_scan=lambda: paths.number,
        homes=homes,
        integrals=integrals,
    )
