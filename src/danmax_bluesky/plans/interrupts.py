"""An abort, a stop or a pause that is asked for takes place, also where the RunEngine would miss it.

The RunEngine interrupts a plan by cancelling the task that runs it. On Python 3.11 `asyncio.wait_for` drops a
cancellation that arrives in the very moment in which what it waits for is done (mended in 3.12), and every reading of a
signal goes through it: the scan then goes on to its end as if nobody had said a word. Here the plan looks by itself.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from bluesky.run_engine import RunEngine
from bluesky.utils import (
    FailedPause,
    Msg,
    MsgGenerator,
    PauseRequest,
    PlanHalt,
    RequestAbort,
    RequestStop,
    RunEngineControlException,
    SigintHandler,
    TransitionError,  # pyright: ignore[reportPrivateImportUsage]
)

from danmax_bluesky.plans.engine import Engine, hold, refused

log = logging.getLogger(__name__)
END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_QUESTIONS = ("read", "locate", "wait_for")
_ENDINGS: dict[str, type[BaseException]] = {"aborting": RequestAbort, "stopping": RequestStop, "halting": PlanHalt}


def interruptible(run_engine: RunEngine) -> Callable[[MsgGenerator[Any]], MsgGenerator[Any]]:
    """A preprocessor for this RunEngine, to be put among its `preprocessors`: no interruption gets lost."""

    def heed(plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
        response: Any = None
        thrown: BaseException | None = None
        ending = bundling = False
        asked: BaseException | None = None
        while True:
            state = "" if ending else str(run_engine.state)
            if state in _ENDINGS:  # once: whatever is thrown now ends the plan, which then tidies up
                ending = True
                thrown = thrown or _ENDINGS[state]()  # nothing was thrown where the cancellation was dropped
                asked = thrown if isinstance(thrown, (RunEngineControlException, FailedPause)) else None
            state = "" if thrown is not None else state
            if state == "pausing":
                hold(run_engine)
                message = Msg("null")
            else:
                try:
                    message = plan.send(response) if thrown is None else plan.throw(thrown)
                except StopIteration as stop:
                    return stop.value
                except (SystemExit, KeyboardInterrupt) as error:  # would end the thread in which plans run
                    raise refused(error, "the plan") from error
                except Exception as error:
                    if asked is None or error is asked:
                        raise
                    if not _was_cancelled(error):
                        log.warning("while the plan was ended: %s", error)
                    raise asked from error  # an abort is answered as an abort, whatever else failed after it
            bundling = message.command == "create" or (bundling and message.command not in ("save", "drop"))
            try:
                answer, thrown = (yield message), None
                while answer is None and message.command in _QUESTIONS and not bundling:  # a pause swallowed the answer
                    answer = yield message
            except GeneratorExit:
                plan.close()
                raise
            except Exception as error:
                answer, thrown = None, error
            if state != "pausing":  # what the plan waits for is still the answer to its own message
                response = answer

    return heed


def _was_cancelled(error: BaseException | None) -> bool:
    """Whether an error is but what a device says whose work was broken off."""
    while error is not None:
        if isinstance(error, asyncio.CancelledError):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def ending_moves(engine: Engine) -> Iterator[None]:
    """Until a plan has begun a run, there is nothing that a pause could spare: Ctrl-C ends it, and stops its motors.

    Put it behind the RunEngine's own handler among its `context_managers`; that one has its say once there is a run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pause = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if engine.has_measured or str(engine.state) not in ("running", "pausing"):
            assert callable(pause)
            pause(number, frame)
        else:
            engine.abort("Ctrl-C")

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, pause)


class EndOnCtrlC(SigintHandler):
    """Ctrl-C where there is no prompt to go on from: it says at once what it does.

    The first one lets the phase come to its end, the next one does not; whoever runs the plan then ends it.
    """

    def _watch_request(self) -> None:
        while not self._released:
            if self._request in (PauseRequest.SOFT, PauseRequest.HARD):
                soft = self._request == PauseRequest.SOFT
                text = "the scan ends when this phase is over; press it again within 10 s to end it now"
                print(f"Ctrl-C: {text if soft else 'the scan ends now'}", file=sys.stderr, flush=True)  # noqa: T201
                with suppress(TransitionError):
                    self._RE.request_pause(defer=soft)
            self._request_event.wait()
            self._request_event.clear()


def end_on_signals(run_engine: RunEngine, leave: Callable[[], Any] = lambda: None) -> Callable[[], None]:
    """Let SIGTERM, and the SIGHUP of a terminal that is closed, end a plan as an abort does, and then the process.

    Without it the process would be gone at once: with the shutter open, and the sample where it is.

    Args:
        run_engine: whose plans are ended; in the main thread.
        leave: called too, for a prompt that would go on.

    Returns:
        What gives the signals their former meaning back.
    """
    received: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # nobody reads any more, and a word to a terminal that is gone would be an error
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
        received.append(number)
        leave()
        if run_engine.state in ("running", "pausing"):
            run_engine.abort(f"the process was told to end ({signal.Signals(number).name})")
        elif run_engine.state in ("idle", "paused"):
            raise SystemExit(128 + number)

    @contextmanager
    def leaving(_run_engine: RunEngine) -> Iterator[None]:
        yield
        if received:
            raise SystemExit(128 + received[0])

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.signal(number, end) for number in END_SIGNALS}
    run_engine.context_managers.insert(0, leaving)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        run_engine.context_managers.remove(leaving)

    return restore
