"""A scan that fails says why in one sentence; if a device does not answer, then that, whichever error came first.

A device that dies is noticed by whoever asks it next. That may be a wait with a time-out of its own, which ends before
the control system has told of the loss, and whose message then names a signal and not the device that is gone. Here,
whenever a plan fails, every device is asked once more before the run is closed.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, RunEngineControlException

from danmax_bluesky.devices.disconnects import LinkLostError, tells_of_a_loss
from danmax_bluesky.errors import DanmaxError, ScanError

MOST_TOLD = 3

Ask = Callable[[float], Awaitable[Sequence[LinkLostError]]]


def naming_losses(ask: Ask) -> Callable[[MsgGenerator[Any]], MsgGenerator[Any]]:
    """A preprocessor for a RunEngine: errors and stop documents name the devices that do not answer.

    Args:
        ask: tells which devices do not answer now, or did not a moment ago but later than a time (POSIX seconds).
    """

    def name(plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
        began = time.time()
        lost: list[LinkLostError] | None = None  # None until they were asked

        async def look() -> None:
            nonlocal lost
            lost = list(await ask(began))

        response: Any = None
        thrown: Exception | None = None
        failed: Exception | None = None
        while True:
            try:
                message = plan.send(response) if thrown is None else plan.throw(thrown)
            except StopIteration as stop:
                return stop.value
            except (RunEngineControlException, ScanError):  # of which the latter is a refusal to begin
                raise
            except Exception as error:
                if lost is None and not _mentions_lost_device(error):
                    yield from bps.wait_for([look])
                if lost and not _mentions_lost_device(error):
                    raise LinkLostError(amended(str(reason_of(error)), lost)) from error
                raise
            if message.command == "open_run":
                lost = None
            elif message.command == "close_run" and message.kwargs.get("exit_status") == "fail":
                reason = str(message.kwargs.get("reason") or "")
                if failed is not None and reason == str(failed):
                    reason = str(reason_of(failed))
                if not tells_of_a_loss(reason):
                    yield from bps.wait_for([look])
                    reason = amended(reason, lost or ())
                message = message._replace(kwargs={**message.kwargs, "reason": reason})
            try:
                response, thrown = (yield message), None
            except GeneratorExit:
                plan.close()
                raise
            except Exception as error:
                response, thrown, failed = None, error, error

    return name


def reason_of(error: BaseException) -> BaseException:
    """The error that started it all: a device that is lost, else what a device said, rather than what passed it on."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        current = current.__cause__ or current.__context__
    ours = [item for item in seen if isinstance(item, DanmaxError)]
    losses = [item for item in ours if isinstance(item, LinkLostError)]
    return [error, *ours, *losses[:1]][-1]


def amended(message: str, losses: Sequence[LinkLostError]) -> str:
    """The message with what does not answer before it; devices that the message speaks of come first."""
    if not losses:
        return message
    first = sorted(losses, key=lambda loss: loss.device not in message)
    more = [loss.device for loss in first[MOST_TOLD:]]
    texts = [str(loss) for loss in first[:MOST_TOLD]] + ([f"nor do {', '.join(more)}"] if more else [])
    return f"{'; '.join(texts)}. The scan ended with: {message}"


def _mentions_lost_device(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, tells of a loss."""
    while error is not None:
        if tells_of_a_loss(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
