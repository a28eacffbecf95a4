"""A number with its uncertainty."""

import math
from dataclasses import dataclass, replace

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        sigma: its standard uncertainty, in the same units.
        freedom: degrees of freedom that sigma was estimated with; infinite where sigma is known.
    """

    value: float
    sigma: float
    freedom: float = math.inf

    @property
    def half_width(self) -> float:
        """Half the width of the interval that holds the true number with 95 % confidence (Student's t)."""
        from scipy.stats import t  # late: it takes a second to import, and plans name estimates

        return float(t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * self.sigma

    def holds(self, true: float) -> bool:
        """Whether a number lies within the interval of 95 %."""
        return abs(self.value - true) <= self.half_width

    def scaled(self, factor: float) -> "Estimate":
        """The same in other units."""
        return replace(self, value=self.value * factor, sigma=self.sigma * abs(factor))

    def as_exponent(self) -> "Estimate":
        """What a number is whose logarithm this is."""
        value = math.exp(self.value)
        return replace(self, value=value, sigma=value * self.sigma)

    def text(self, units: str = "") -> str:
        """Number and uncertainty, rounded to two digits of the uncertainty: "1.234 ± 0.012 mm"."""
        return f"{rounded(self.value, self.sigma)} ± {rounded(self.sigma, self.sigma)} {units}".rstrip()


def rounded(value: float, sigma: float) -> str:
    """A number to two digits of its uncertainty, without an exponent where that can be."""
    if not math.isfinite(value) or not math.isfinite(sigma) or sigma <= 0:
        return f"{value:.6g}"
    digits = 1 - math.floor(math.log10(sigma))
    shown = round(value, digits) + 0.0  # which makes 0 of -0
    return f"{shown:.{max(0, min(digits, 12))}f}"
