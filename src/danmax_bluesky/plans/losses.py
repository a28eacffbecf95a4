"""A scan that fails while a device does not answer says so, whichever error came first.

A device that dies is noticed by whoever asks it next. That may be a wait with a time-out of its own, which ends before
the control system has told of the loss, and whose message then names a signal and not the device that is gone. Here,
whenever a plan fails, every device is asked once more before the run is closed.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, RunEngineControlException

from danmax_bluesky.devices.lost import LinkLostError, tells_of_a_loss

MOST_TOLD = 3

Ask = Callable[[float], Awaitable[Sequence[LinkLostError]]]


def naming_losses(ask: Ask) -> Callable[[MsgGenerator[Any]], MsgGenerator[Any]]:
    """A preprocessor for a RunEngine: errors and stop documents name the devices that do not answer.

    Args:
        ask: tells which devices do not answer now, or did not a moment ago but later than a time (POSIX seconds).
    """

    def name(plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
        began = time.time()
        found: list[LinkLostError] | None = None  # None until they were asked

        async def look() -> None:
            nonlocal found
            found = list(await ask(began))

        response: Any = None
        thrown: Exception | None = None
        while True:
            try:
                message = plan.send(response) if thrown is None else plan.throw(thrown)
            except StopIteration as stop:
                return stop.value
            except RunEngineControlException:
                raise
            except Exception as error:
                if found is None and not _told(error):
                    yield from bps.wait_for([look])
                if found and not _told(error):
                    raise LinkLostError(amended(str(error), found)) from error
                raise
            if message.command == "open_run":
                found = None
            elif message.command == "close_run" and message.kwargs.get("exit_status") == "fail":
                reason = str(message.kwargs.get("reason") or "")
                if not tells_of_a_loss(reason):
                    yield from bps.wait_for([look])
                    message = message._replace(kwargs={**message.kwargs, "reason": amended(reason, found or ())})
            try:
                response, thrown = (yield message), None
            except GeneratorExit:
                plan.close()
                raise
            except Exception as error:
                response, thrown = None, error

    return name


def amended(message: str, losses: Sequence[LinkLostError]) -> str:
    """The message with what does not answer before it; devices that the message speaks of come first."""
    if not losses:
        return message
    first = sorted(losses, key=lambda loss: loss.device not in message)
    more = [loss.device for loss in first[MOST_TOLD:]]
    texts = [str(loss) for loss in first[:MOST_TOLD]] + ([f"nor do {', '.join(more)}"] if more else [])
    return f"{'; '.join(texts)}. The scan ended with: {message}"


def _told(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, tells of a loss."""
    while error is not None:
        if tells_of_a_loss(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
