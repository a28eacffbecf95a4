"""An abort, a stop or a pause that is asked for takes place, also where the RunEngine would miss it.

The RunEngine interrupts a plan by cancelling the task that runs it. On Python 3.11 `asyncio.wait_for` drops a
cancellation that arrives in the very moment in which what it waits for is done (mended in 3.12), and every reading of a
signal goes through it: the scan then goes on to its end as if nobody had said a word. Here the plan looks by itself.
"""

from collections.abc import Callable
from typing import Any

from bluesky.run_engine import RunEngine
from bluesky.utils import Msg, MsgGenerator, PlanHalt, RequestAbort, RequestStop

_ENDINGS: dict[str, type[BaseException]] = {"aborting": RequestAbort, "stopping": RequestStop, "halting": PlanHalt}


def heeding(run_engine: RunEngine) -> Callable[[MsgGenerator[Any]], MsgGenerator[Any]]:
    """A preprocessor for this RunEngine, to be put among its `preprocessors`: no interruption gets lost."""

    def heed(plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
        response: Any = None
        thrown: BaseException | None = None
        ending = False
        while True:
            state = "" if ending or thrown is not None else str(run_engine.state)
            if state in _ENDINGS:  # and nothing was thrown: the cancellation was dropped
                thrown = _ENDINGS[state]()
            ending = ending or isinstance(thrown, tuple(_ENDINGS.values()))
            if state == "pausing":
                permit = run_engine._run_permit  # noqa: SLF001  what the RunEngine does when it is cancelled
                assert permit is not None
                permit.clear()
                message = Msg("null")
            else:
                try:
                    message = plan.send(response) if thrown is None else plan.throw(thrown)
                except StopIteration as stop:
                    return stop.value
            try:
                answer, thrown = (yield message), None
            except GeneratorExit:
                plan.close()
                raise
            except Exception as error:
                answer, thrown = None, error
            if state != "pausing":  # what the plan waits for is still the answer to its own message
                response = answer

    return heed
