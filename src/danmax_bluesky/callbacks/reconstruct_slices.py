"""The last of the eleven steps: the reconstruction of a tomography begins when its files are written."""

import logging
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from danmax_bluesky.callbacks.dxchange import has_dxchange
from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.errors import AcquisitionError, SettingsError
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.pipelines.slice_request import ReconstructionJob, end_as_failed
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.record import RecordBuilder, RunRecord
from danmax_bluesky.tomography.angles import covers_half_turn
from danmax_bluesky.tomography.tori import DEFAULT, NONE, load_tori, tori_names, tori_refusal

_log = logging.getLogger(__name__)
_COMMAND = (sys.executable, "-m", "danmax_bluesky.pipelines.slice_process")


class Reconstruct:
    """Starts a process for each detector of a tomography that is complete, with the settings file that the scan names.

    Subscribe it within a `Guard`, after the NeXus master, from which the frames are read. Only one reconstructs at a
    time: the others wait for their turn, so that a series of scans does not drown the machine.
    """

    def __init__(self) -> None:
        self._router = PerRun(lambda start: _OneRun(self) if start.get("scan") and "data_root" in start else None)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slices")
        self._lock = threading.Lock()
        self._open: dict[Future[None], str] = {}
        self._problems: list[str] = []

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)

    def begin(self, job: ReconstructionJob) -> None:
        """Reconstruct when it is the turn of this job."""
        with self._lock:
            done = self._pool.submit(self._do, job)
            self._open[done] = f"{job.stem}, {job.detector}"
        done.add_done_callback(self._finished)

    def wait(self, timeout_s: float) -> None:
        """Wait until the slices of every run so far are written.

        Raises:
            AcquisitionError: it took longer, or a reconstruction failed since the last call.
        """
        with self._lock:
            waiting = dict(self._open)
        late = wait(waiting, timeout_s).not_done
        if late:
            names = "; ".join(waiting[future] for future in late)
            raise AcquisitionError(f"the slices of {names} are not there after {timeout_s:g} s; they follow")
        with self._lock:
            problems, self._problems = self._problems, []
        if problems:
            raise AcquisitionError("reconstruction: " + "; ".join(problems))

    def close(self) -> None:
        """Begin no further reconstruction, and tell of those that were still to come."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            left = [name for future, name in self._open.items() if future.cancelled()]
        if left:
            _log.warning("not reconstructed: %s; run `danmax reconstruct` on them", "; ".join(left))

    def _do(self, job: ReconstructionJob) -> None:
        command = [*_COMMAND, job.dumps()]  # in a session of its own: a Ctrl-C is meant for another scan
        done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
        if done.returncode:
            why = done.stderr.strip() or f"its process ended with status {done.returncode}"
            if done.returncode < 0:  # it could not say so itself
                end_as_failed(job, why)
            raise AcquisitionError(f"{job.stem}, {job.detector}: {why}")
        if remarks := done.stderr.strip():
            _log.warning("%s", remarks)

    def _finished(self, done: "Future[None]") -> None:
        if done.cancelled():
            return
        error = done.exception()
        with self._lock:
            self._open.pop(done, None)
            if error is not None:
                self._problems.append(str(error))
        if error is not None:
            _log.error("reconstruction of %s", error)


class _OneRun:
    def __init__(self, service: Reconstruct) -> None:
        self._service = service
        self._builder = RecordBuilder()

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        if name == "stop":
            for job in jobs_of(self._builder.record):
                self._service.begin(job)


def jobs_of(
    record: RunRecord, tori_name: str = "", center: str = "", *, incomplete: bool = False, wedge: bool = False
) -> list[ReconstructionJob]:
    """What is to be reconstructed of a run: a job for each detector that saw the sample from all sides, and flats.

    A helical scan has none: a row of the detector saw another height of the sample at each angle.

    Args:
        record: of a run that ended; one that is not complete has no job.
        tori_name: of the settings file; "" takes the one that the scan names.
        center: as of `ReconstructionJob`; "" takes what the scan says.
        incomplete: whether a run that ended early has a job too, from the projections that it has.
        wedge: whether projections over less than half a turn will do, whatever the settings say.

    Raises:
        SettingsError: there is no such settings file, or it cannot be used.
    """
    scan = record.start.get("scan") or {}
    name = tori_name or str(scan.get("tori_name") or DEFAULT)
    if name == NONE or not (record.is_complete or incomplete) or scan.get("helical"):
        return []
    visit_folder = record.files.process.parent
    try:
        settings = load_tori(visit_folder, name)
    except SettingsError as error:
        usable = [other for other in tori_names(visit_folder) if other != name]
        raise SettingsError(tori_refusal(name, str(error), usable)) from error
    return [
        ReconstructionJob.of(record, detector, settings, center or str(scan.get("center") or "auto"))
        for detector, table in read_run(record).tables.items()
        if _can_be_reconstructed(table, wedge or settings.wedge == "allow")
    ]


def _can_be_reconstructed(table: FrameTable, wedge: bool) -> bool:
    projections = table.of(ImageKey.PROJECTION)
    turned_enough = covers_half_turn(table.angle_deg[projections]) or (wedge and len(projections) > 0)
    return has_dxchange(table) and len(table.of(ImageKey.FLAT)) > 0 and turned_enough
