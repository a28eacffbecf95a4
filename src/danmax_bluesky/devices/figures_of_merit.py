"""What the integration says of the latest frame, as a device: readings that plot, and that steer a plan.

The device of a detector has the integral parameters of each of its recipes; the first of each, the integrated
intensity, is hinted. Two ways of using it:

- beside its detector in an event: `trigger` waits until the frame that is exposed meanwhile is integrated, so that a
  frame and its integrals stand in one event, and a plan can act on them (`bps.trigger_and_read([detector, integrals])`)
- monitored while frames are collected in segments: the latest values, a few times a second

Integration may be late or fail; a measurement does not. What is not known in time is NaN.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bluesky.protocols import Hints, Reading
from event_model import DataKey
from ophyd_async.core import AsyncStatus

from danmax_bluesky.runs.pattern_streams import FRAME_NUMBER, INTEGRALS

PATIENCE_S = 60.0
"""For a pattern, the first of which may wait for its matrix; once one was late nobody waits until it has come."""
MONITOR_S = 0.2
_REMEMBERED = 64
"""So many of the latest patterns can still be asked for."""
_log = logging.getLogger(__name__)


class Integrals:
    """Integral parameters of the patterns of one detector; readable, triggerable, and to be monitored.

    Its data keys are <detector>_<recipe>_<parameter>.

    Args:
        detector: its name; the device is called <detector>_integrals.
        recipes: names of its recipes.
        parameters: what is known of each pattern; the first is hinted.
        loop: of the RunEngine, in which everything here happens.
        patience_s: the longest wait for a pattern, seconds.
    """

    parent = None

    def __init__(
        self,
        detector: str,
        recipes: Sequence[str],
        parameters: Sequence[str],
        loop: asyncio.AbstractEventLoop,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.name = f"{detector}_integrals"
        self.keys = {f"{detector}_{recipe}_{name}": (recipe, name) for recipe in recipes for name in parameters}
        self.hints: Hints = {"fields": [key for key, (_, name) in self.keys.items() if name == parameters[0]]}
        self._detector = detector
        self._recipes = tuple(recipes)
        self._loop = loop
        self._patience_s = patience_s
        self._listeners: list[Callable[[dict[str, Reading[float]]], None]] = []
        self._told_s = 0.0
        self._woken = asyncio.Event()
        self.begin("")

    def begin(self, run: str) -> None:
        """A run begins, or is over (""): what is told of another one is left aside."""
        self._run = run
        self._triggered = 0
        self._late = False
        self._failed: set[str] = set()
        self._recipe_of: dict[str, str] = {}
        self._values: dict[str, dict[int, Mapping[str, float]]] = {name: {} for name in self._recipes}
        self._woken.set()

    def __call__(self, name: str, doc: Any) -> None:
        """Take a document of a run of patterns, as `runs.pattern_streams` describes them; from any thread."""
        self._soon(self._take, name, doc)

    def failed(self, run: str, recipe: str) -> None:
        """A recipe gives no more patterns in this run; from any thread."""
        self._soon(self._give_up, run, recipe)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Wait for the pattern of the frame that belongs to this event."""
        run, frame = self._run, self._triggered
        self._triggered += 1
        try:
            async with asyncio.timeout(0 if self._late else self._patience_s):
                while run == self._run and not self._knows(frame):
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            if not self._late:
                _log.warning(
                    "%s: the pattern of frame %d is not there after %g s; the plan goes on without it (NaN)",
                    *(self.name, frame, self._patience_s),
                )
            self._late = True

    async def describe(self) -> dict[str, DataKey]:
        """Data keys."""
        return {key: DataKey(source=f"integration of {self._detector}", dtype="number", shape=[]) for key in self.keys}

    async def read(self) -> dict[str, Reading[float]]:
        """The integrals of the frame that was waited for; NaN where they are not known."""
        return self._readings(self._triggered - 1)

    async def describe_configuration(self) -> dict[str, DataKey]:
        """Nothing; the recipes stand in the start document."""
        return {}

    async def read_configuration(self) -> dict[str, Reading[Any]]:
        """Nothing."""
        return {}

    def subscribe(self, function: Callable[[dict[str, Reading[float]]], None]) -> None:
        """Tell of the latest pattern, a few times a second."""
        self._listeners.append(function)

    def clear_sub(self, function: Callable[[dict[str, Reading[float]]], None]) -> None:
        """Tell this listener no more."""
        self._listeners.remove(function)

    def _take(self, name: str, doc: Any) -> None:
        match name:
            case "start" if doc["derived_from"] == self._run and doc["recipe"]["detector"] == self._detector:
                self._recipe_of[doc["uid"]] = doc["recipe"]["name"]
            case "descriptor" if doc["name"] == INTEGRALS and doc["run_start"] in self._recipe_of:
                self._recipe_of[doc["uid"]] = self._recipe_of[doc["run_start"]]
            case "event_page" if doc["descriptor"] in self._recipe_of:
                self._take_page(self._recipe_of[doc["descriptor"]], doc["data"])

    def _take_page(self, recipe: str, columns: Mapping[str, Sequence[float]]) -> None:
        values = self._values.get(recipe)
        if values is None:
            return
        for row, frame in enumerate(columns[FRAME_NUMBER]):
            values[int(frame)] = {name: float(series[row]) for name, series in columns.items()}
        for frame in sorted(values)[:-_REMEMBERED]:
            del values[frame]
        latest = max(values)
        self._late = self._late and latest < self._triggered - 1
        self._woken.set()
        if self._listeners and time.monotonic() - self._told_s >= MONITOR_S:
            self._told_s = time.monotonic()
            for listener in tuple(self._listeners):
                listener(self._readings(latest))

    def _give_up(self, run: str, recipe: str) -> None:
        if run == self._run:
            self._failed.add(recipe)
            self._woken.set()

    def _knows(self, frame: int) -> bool:
        return all(
            numbers and max(numbers) >= frame for name, numbers in self._values.items() if name not in self._failed
        )

    def _readings(self, frame: int) -> dict[str, Reading[float]]:
        now = time.time()
        return {
            key: Reading(value=self._values[recipe].get(frame, {}).get(name, math.nan), timestamp=now)
            for key, (recipe, name) in self.keys.items()
        }

    def _soon(self, work: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            self._loop.call_soon_threadsafe(work, *arguments)
