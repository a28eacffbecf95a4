"""The RunEngine of a session: what callbacks and plans do wrong ends a scan in good order, and never the session.

The RunEngine hands documents to callbacks in the middle of a message. An error that leaves it there skips the rest of
the message: documents of frames that are on disk are never emitted, and the plan's attempt to emit them later fails
with an error of its own, which hides the first. `exit()` in a callback ends the thread in which plans run, and `RE()`
waits for it for ever. Here the message is finished first; then the plan is told, as it is of a device that failed.
"""

import logging
from typing import Any

from bluesky.run_engine import RunEngine

from danmax_bluesky.errors import AcquisitionError

log = logging.getLogger(__name__)


class Engine(RunEngine):
    """A RunEngine whose callbacks may fail."""

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

    @property
    def has_measured(self) -> bool:
        """Whether the plan of the latest call has begun a run."""
        return bool(self._run_start_uids)


def refused(error: BaseException, who: str) -> AcquisitionError:
    """The error in the place of one that would end the thread of the plans."""
    refusal = AcquisitionError(
        f"{who} called exit() or was interrupted ({type(error).__name__}): the plan was ended, and the session goes "
        "on; raise an error there instead"
    )
    refusal.__cause__ = error
    return refusal
