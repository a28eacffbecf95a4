"""The RunEngine of a session: what callbacks and plans do wrong ends a scan in good order, and never the session.

The RunEngine hands documents to callbacks in the middle of a message. An error that leaves it there skips the rest of
the message: documents of frames that are on disk are never emitted, and the plan's attempt to emit them later fails
with an error of its own, which hides the first. `exit()` in a callback ends the thread in which plans run, and `RE()`
waits for it for ever. Here the message is finished first; then the plan is told, as it is of a device that failed.

Two things that the RunEngine does at an end, and complains of, are left out: see `_RunBundler.backstop_collect` and
`Engine._close_run_trace`.
"""

import logging
from typing import Any

from bluesky.bundlers import RunBundler
from bluesky.protocols import Collectable
from bluesky.run_engine import RunEngine
from bluesky.utils import Msg

from danmax_bluesky.errors import AcquisitionError

log = logging.getLogger(__name__)


class _RunBundler(RunBundler):
    """The documents of one run."""

    async def backstop_collect(self) -> None:
        """After a halt, collect from the flyers that are no part of a stream.

        Motors and sequencers have nothing to collect, and frames of a declared stream are documented with those of the
        other detectors or not at all: those on disk that no document tells of are for `danmax rebuild`. Bluesky asks
        each of them alone, which fails, and logs the failure with its traceback.
        """
        streams = set().union(*self._declared_stream_names)
        self._uncollected = {obj for obj in self._uncollected - streams if isinstance(obj, Collectable)}
        await super().backstop_collect()


class Engine(RunEngine):
    """A RunEngine whose callbacks may fail."""

    RunBundler = _RunBundler

    def emit_sync(self, name: Any, doc: Any) -> None:
        """Hand a document to the callbacks; the first of them that fails ends the plan after the current message."""
        try:
            super().emit_sync(name, doc)
        except Exception as error:
            self._throw(error)
        except (SystemExit, KeyboardInterrupt) as error:
            self._throw(refused(error, f"a callback, at the {name.name} document"))

    async def _run(self) -> Any:
        try:
            return await super()._run()
        except (SystemExit, KeyboardInterrupt) as error:
            raise refused(error, "a device or a hook of the RunEngine") from error
        finally:
            if self._exception is not None:  # of a callback at the very last document: the plan is over
                log.error("after the end of the plan: %s", self._exception)

    def _throw(self, error: Exception) -> None:
        with self._state_lock:
            self._exception = self._exception or error

    def _close_run_trace(self, msg: Msg) -> None:
        """End the trace of a run, unless an abort or a halt, which ends them all at once, was asked for before."""
        if self._run_tracing_spans:
            super()._close_run_trace(msg)

    @property
    def has_measured(self) -> bool:
        """Whether the plan of the latest call has begun a run."""
        return bool(self._run_start_uids)


def hold(run_engine: RunEngine) -> None:
    """Let the RunEngine begin no further message until it is resumed, as it does by itself when it is paused."""
    permit = run_engine._run_permit  # noqa: SLF001  it can be reached in no other way
    assert permit is not None
    permit.clear()


def refused(error: BaseException, who: str) -> AcquisitionError:
    """The error in the place of one that would end the thread of the plans."""
    refusal = AcquisitionError(
        f"{who} called exit() or was interrupted ({type(error).__name__}): the plan was ended, and the session goes "
        "on; raise an error there instead"
    )
    refusal.__cause__ = error
    return refusal
