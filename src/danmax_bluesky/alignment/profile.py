"""The centre of a profile: of a peak, a dip, or a pair of edges in what was read over the positions of a motor."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import ndtr
from scipy.stats import f as fisher

from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.alignment.fitting import Fit, fit
from danmax_bluesky.errors import AlignmentError

Model = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Parameters and positions -> signal."""
FEWEST = 9
SHORTEST_STEPS = 0.4
"""Length of the shortest flank that can be seen, in steps between two positions."""
BY_CHANCE = 1e-4
"""Probability below which noise alone does not make such a profile."""
LEAST_CONTRAST = 4.0
"""Height of a profile in units of the scatter about it that is needed at least."""
ONE_FLANK_SEEN = 0.8
"""Length of a flank, in steps, above which some positions lie on it."""
HALF_OF_ROUND = math.sqrt(3) / 2
"""Half the width of a circle at half its height, in units of its radius."""
MOST_STARTS = 6
SHARP = 0.12
"""Width of an edge over the distance of both edges below which they are a pair of edges."""


@dataclass(frozen=True, eq=False)
class ProfileCentre:
    """Where a profile has its middle.

    Attributes:
        centre: in the units of the positions.
        width: distance of the two flanks at half height, likewise.
        height: of the profile above its background, in the units of the signal; negative for a dip.
        shape: "peak", "dip", or "edges" if the flanks are short against what lies between them.
        positions: sorted, shape (n,).
        signal: shape (n,).
        model: what the fitted profile gives at `curve_positions`, shape (m,).
        curve_positions: shape (m,).
    """

    centre: Estimate
    width: Estimate
    height: Estimate
    shape: Literal["peak", "dip", "edges"]
    positions: np.ndarray
    signal: np.ndarray
    curve_positions: np.ndarray
    model: np.ndarray


def profile_centre(positions: np.ndarray, signal: np.ndarray) -> ProfileCentre:
    """The middle of a peak, a dip or a pair of edges, by a fit of a bell, a circle or two flanks.

    All stand on a flat background. A flank is the integral of a normal distribution. The uncertainty follows from the
    scatter about the fit, so that no noise has to be stated, and a profile of another form has a larger one.

    Args:
        positions: where the signal was read, shape (n,), in any order, at least 9.
        signal: what was read there, shape (n,).

    Raises:
        AlignmentError: there are too few positions, a number is not finite, there is nothing but noise, or a flank lies
            outside the positions.
    """
    x, y = np.asarray(positions, float), np.asarray(signal, float)
    if x.shape != y.shape or x.ndim != 1:
        raise AlignmentError(f"positions of shape {x.shape} and a signal of shape {y.shape}: give one number for each")
    if len(x) < FEWEST:
        raise AlignmentError(f"{len(x)} positions are too few to see a peak; measure at least {FEWEST}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise AlignmentError("the signal or a position is no number (NaN); leave these positions out")
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    span = float(x[-1] - x[0])
    if not span > 0:
        raise AlignmentError("all positions are the same; scan the motor over a range")
    if not np.ptp(y) > 0:
        raise AlignmentError(f"the signal is {y[0]:g} everywhere; is the beam on, and the sample in it?")
    best, model, has_flanks = _best(x, y, span)
    _refuse_noise(best, model, x, y)
    _, height, centre, log_half, *length = best.parameters
    half = _size(log_half)
    low, high = centre - half, centre + half
    if low < x[0] or high > x[-1]:
        raise AlignmentError(
            f"only one flank of the profile lies within {x[0]:g} to {x[-1]:g}; scan a larger range, or about another "
            "middle, so that both are in it"
        )
    estimate = _between_positions(best.estimate(2), span / (len(x) - 1), has_flanks, length)
    if estimate.half_width > span / 4:
        raise AlignmentError(
            f"the middle is known to ±{estimate.half_width:.3g} only, while {span:g} were scanned; expose longer, or "
            "scan a smaller range in finer steps"
        )
    shape: Literal["peak", "dip", "edges"] = "peak" if height > 0 else "dip"
    if has_flanks and (not length or _size(length[0]) < SHARP * half):
        shape = "edges"
    curve = np.linspace(x[0], x[-1], 400)
    curve_signal = model(best.parameters, curve)
    return ProfileCentre(
        estimate, best.estimate(3).as_exponent().scaled(2.0), best.estimate(1), shape, x, y, curve, curve_signal
    )


def _bell(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Background, height, centre, logarithm of half the width at half height -> profile of a normal distribution."""
    background, height, centre, half = parameters
    return background + height * np.exp(-np.log(2) * ((x - centre) / _size(half)) ** 2)


def _round(shortest: float, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Background, height, centre, logarithm of half the width at half height -> way through a round capillary."""
    background, height, centre, half = parameters
    radius = _size(half) / HALF_OF_ROUND
    inside, blur = 1 - ((x - centre) / radius) ** 2, 2 * shortest / radius
    return background + height * np.sqrt((inside + np.hypot(inside, blur)) / 2)


def _flanks(shortest: float, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Background, height, centre, logarithms of half the distance of the flanks and of their length -> profile.

    Without the last one the flanks are as short as they may be.
    """
    background, height, centre, half, *length = parameters
    half, flank = _size(half), shortest + (_size(length[0]) if length else 0.0)
    full = max(2 * ndtr(half / flank) - 1, 1e-9)
    return background + height / full * (ndtr((x - centre + half) / flank) - ndtr((x - centre - half) / flank))


def _size(logarithm: float) -> float:
    return float(np.exp(np.clip(logarithm, -18, 18)))


def _best(x: np.ndarray, y: np.ndarray, span: float) -> tuple[Fit, Model, bool]:
    """The best of some fits, upwards and downwards, of several widths and forms; and whether it has two flanks."""
    step = span / (len(x) - 1)
    flanks = functools.partial(_flanks, SHORTEST_STEPS * step)
    circle = functools.partial(_round, SHORTEST_STEPS * step)
    starts: list[tuple[Model, tuple[float, ...]]] = []
    for sign in (1.0, -1.0):
        lifted = sign * y - np.min(sign * y)
        above = np.flatnonzero(lifted > lifted.max() / 2)
        background = float(np.median(y[lifted <= lifted.max() / 2]))
        weight = np.where(lifted > lifted.max() / 2, lifted, 0.0)
        height, middle = sign * float(np.ptp(y)), float((weight * x).sum() / weight.sum())
        half = max(step, (x[above[-1]] - x[above[0]] + step) / 2)
        starts += [
            (_bell, (background, height, middle, np.log(half))),
            (_bell, (background, height, float(x[np.argmax(lifted)]), np.log(1.5 * step))),
            (circle, (background, height, middle, np.log(half))),
            (flanks, (background, height, middle, np.log(half))),
            (flanks, (background, height, middle, np.log(half), np.log(0.1 * half))),
            (flanks, (background, height, middle, np.log(half), np.log(0.5 * half))),
        ]
    starts.sort(key=lambda one: float(np.sum(_away(one[0], x, y, np.array(one[1])) ** 2)))
    found: list[tuple[Fit, Model]] = []
    for model, start in starts[:MOST_STARTS]:
        with contextlib.suppress(AlignmentError):
            found.append((fit(functools.partial(_away, model, x, y), start), model))
    if not found:
        raise AlignmentError(NO_PROFILE)
    best, model = min(found, key=lambda one: one[0].squares / one[0].freedom)
    return best, model, model is flanks


def _away(model: Model, x: np.ndarray, y: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    return model(parameters, x) - y


NO_PROFILE = (
    "there is neither a peak, nor a dip, nor a pair of edges in the signal, only noise; scan a larger range, expose "
    "longer, or read another signal"
)


def _between_positions(centre: Estimate, step: float, has_flanks: bool, length: Sequence[float]) -> Estimate:
    """The centre, less sure if a flank falls between two positions, where nothing tells at which of them it is."""
    flank = SHORTEST_STEPS * step + (_size(length[0]) if length else 0.0)
    if not has_flanks or flank > ONE_FLANK_SEEN * step:
        return centre
    return replace(centre, sigma=math.hypot(centre.sigma, step / math.sqrt(24)))


def _refuse_noise(best: Fit, model: Model, x: np.ndarray, y: np.ndarray) -> None:
    """A profile must explain far more than a straight line does, and stand above the scatter about it."""
    line = y - np.polyval(np.polyfit(x, y, 1), x)
    more, freedom = len(best.parameters) - 2, best.freedom
    ratio = max(0.0, float(line @ line) - best.squares) / more / max(best.squares / freedom, 1e-300)
    scatter = np.sqrt(best.squares / freedom)
    if fisher.sf(ratio, more, freedom) > BY_CHANCE or np.ptp(model(best.parameters, x)) < LEAST_CONTRAST * scatter:
        raise AlignmentError(NO_PROFILE)
