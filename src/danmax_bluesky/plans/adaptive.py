"""Which point comes next: all that are all_points, or those that what was measured asks for.

A course is a generator: it gives a point, is sent what was read there (data key -> value), and ends when it has seen
enough. What was read includes the integral parameters of the pattern just measured.
"""

import math
import operator
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from danmax_bluesky.errors import ScanError

Point = tuple[float, ...]
Reading = Mapping[str, float]
PointPolicy = Generator[Point, Reading, None]

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*(?P<key>[A-Za-z]\w*)\s*(?P<sign><=|>=|<|>)\s*(?P<value>[-+.\deE]+)\s*(?P<percent>%?)\s*")


def all_points(points: Sequence[Point]) -> PointPolicy:
    """Every point, in order."""
    for point in points:  # noqa: UP028  `yield from` would hand what is sent to the sequence, which takes nothing
        yield point


def until(points: Sequence[Point], condition: "Condition") -> PointPolicy:
    """The points in order, until the condition is met."""
    first: float | None = None
    for point in points:
        value = condition.value_of((yield point))
        if first is None and math.isfinite(value):
            first = value
        if condition.is_met(value, first):
            return


def adaptive(start: float, end: float, key: str, change: float, smallest: float, largest: float) -> PointPolicy:
    """Along a line, in steps that are small where a value changes much and large where it does not.

    The next step is as long as it takes, by the last slope, for the value to change by `change`, but at most twice as
    long as the last. A step over which it changed by more than three times as much is gone back, and taken shorter.

    Args:
        start: first position.
        end: last position; it is measured, and not passed.
        key: data key of the value, or the end of one, such as "I0".
        change: of the value from one point to the next that is aimed for, more than 0.
        smallest: step, more than 0.
        largest: step.
    """
    direction = 1.0 if end >= start else -1.0
    whole = abs(end - start)
    gone, step, before = 0.0, smallest, math.nan
    while True:
        value = select_reading((yield (start + direction * gone,)), key)
        changed = abs(value - before)
        fitting = step * change / changed if changed > 0 else 2 * step
        fitting = min(max(min(fitting, 2 * step), smallest), largest)
        back = changed > 3 * change and step > smallest
        if back:
            gone -= step
        elif gone >= whole * (1 - 1e-9):
            return
        if math.isfinite(value):  # nothing follows from a pattern that did not come
            before = before if back else value
            step = fitting if math.isfinite(changed) else step
        step = min(step, whole - gone)
        gone += step


def select_reading(reading: Reading, key: str) -> float:
    """A value by its data key, or by the end of it where only one ends so.

    Raises:
        ScanError: no key or several fit.
    """
    fitting = [name for name in reading if name == key] or [name for name in reading if name.endswith(f"_{key}")]
    if len(fitting) != 1:
        names = ", ".join(sorted(reading))
        raise ScanError(f"{key}: {len(fitting) or 'none'} of the readings can be meant; there are {names}")
    return reading[fitting[0]]


@dataclass(frozen=True)
class Condition:
    """When a scan has seen enough: `I0 < 50%` (of the first value), `pilatus_azint_I0 > 3.5`.

    Attributes:
        key: data key, or the end of one.
        sign: "<", ">", "<=" or ">=".
        limit: what the value is compared with.
        relative: the limit is a share of the first value.
    """

    key: str
    sign: str
    limit: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """From its text.

        Raises:
            ScanError: it is none.
        """
        match = _CONDITION.fullmatch(text)
        try:
            limit = float(match["value"]) if match else math.nan
        except ValueError:
            limit = math.nan
        if match is None or not math.isfinite(limit):
            raise ScanError(f"until = {text!r}: write a reading, a sign and a number, as in 'I0 < 3.5' or 'I0 < 50%'")
        percent = bool(match["percent"])
        return cls(match["key"], match["sign"], limit / 100 if percent else limit, percent)

    def value_of(self, reading: Reading) -> float:
        """What is compared."""
        return select_reading(reading, self.key)

    def is_met(self, value: float, first: float | None = None) -> bool:
        """Whether it is met; never by a value that is not known."""
        if not math.isfinite(value) or (self.relative and first is None):
            return False
        return _OPERATORS[self.sign](value, self.limit * (first or 0.0) if self.relative else self.limit)
