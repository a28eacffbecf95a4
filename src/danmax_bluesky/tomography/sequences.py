"""In which order a rotation scan takes its angles: small frozen values.

`nsteps` intervals in `turns` passes over the range give `nsteps * turns + 1` projections, whatever the order. While
rotation turns, every pass lies one range further on than the pass before, so that all angles rise (or fall) and
rotation never stops; a step scan takes the same angles inside the range, in the order of the sequence.
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from danmax_bluesky.parsing import is_listed

GOLDEN_FRACTION = (np.sqrt(5.0) - 1.0) / 2.0


class _Sequence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Linear(_Sequence):
    """Equally spaced from start to end."""

    kind: Literal["linear"] = "linear"

    def fractions(self, nsteps: int, turns: int) -> NDArray[np.float64]:
        """Positions in units of the range, 0 at the start and `turns` at the end, shape (nsteps * turns + 1,)."""
        return np.arange(nsteps * turns + 1) / nsteps


class Interlaced(_Sequence):
    """Equally spaced in each turn, each turn shifted so that together they sample the range `turns` times as finely.

    The shifts follow the bit-reversed order, so that any few consecutive turns are spread well: K. A. Mohan et al.,
    "TIMBIR: a method for time-space reconstruction from interlaced views", IEEE Trans. Comput. Imaging 1 (2015).
    """

    kind: Literal["interlaced"] = "interlaced"

    def fractions(self, nsteps: int, turns: int) -> NDArray[np.float64]:
        """Positions in units of the range, shape (nsteps * turns + 1,); the last one closes the last turn."""
        shifts = np.argsort(np.argsort(van_der_corput(turns))) / (turns * nsteps)
        inside = np.arange(turns)[:, None] + shifts[:, None] + np.arange(nsteps)[None] / nsteps
        return np.append(inside.ravel(), float(turns))


class GoldenAngle(_Sequence):
    """Each angle the golden fraction of the range after the one before: any number of them in a row is spread well."""

    kind: Literal["golden"] = "golden"

    def fractions(self, nsteps: int, turns: int) -> NDArray[np.float64]:
        """Positions in units of the range, in [0, 1), in the order of the sequence, shape (nsteps * turns + 1,)."""
        return np.arange(nsteps * turns + 1) * GOLDEN_FRACTION % 1.0


class VanDerCorput(_Sequence):
    """The van der Corput sequence in base 2: each angle halves the widest gap that is left."""

    kind: Literal["van_der_corput"] = "van_der_corput"

    def fractions(self, nsteps: int, turns: int) -> NDArray[np.float64]:
        """Positions in units of the range, in [0, 1), in the order of the sequence, shape (nsteps * turns + 1,)."""
        return van_der_corput(nsteps * turns + 1)


class AngleList(_Sequence):
    """Angles as they were given, degrees; relative scans add them to where rotation stands."""

    kind: Literal["list"] = "list"
    angles_deg: tuple[float, ...] = Field(min_length=1, max_length=1_000_000)


def _from_short_form(value: Any) -> Any:
    """Accept "golden" for {"kind": "golden"}, and a sequence of numbers, or "0,1,5", for an `AngleList`."""
    if isinstance(value, str) and "," in value:
        value = [float(word) for word in value.strip("[]( )").split(",") if word.strip()]
    if isinstance(value, str):
        return {"kind": value}
    if is_listed(value) or isinstance(value, np.ndarray):
        return {"kind": "list", "angles_deg": tuple(float(angle) for angle in value)}
    return value


AngleSequence = Annotated[
    Annotated[Linear | Interlaced | GoldenAngle | VanDerCorput | AngleList, Field(discriminator="kind")],
    BeforeValidator(_from_short_form),
]


def van_der_corput(count: int) -> NDArray[np.float64]:
    """The first `count` members of the base-2 van der Corput sequence, in [0, 1), shape (count,)."""
    index = np.arange(count, dtype=np.int64)
    value = np.zeros(count)
    weight = 0.5
    while index.any():
        value += weight * (index & 1)
        index >>= 1
        weight /= 2
    return value


def sorted_passes(fractions: NDArray[np.float64], nsteps: int, turns: int) -> list[NDArray[np.float64]]:
    """Cut a scattered sequence into one rising array of fractions a turn; the last turn takes the one left over."""
    cuts = [nsteps * turn for turn in range(1, turns)]
    return [np.sort(part) for part in np.split(fractions, cuts)]
