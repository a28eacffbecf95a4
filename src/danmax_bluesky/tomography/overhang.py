"""A sample that is wider than the field: how far it reaches beyond, and half acquisitions.

A projection that is cut off lacks a part of every slice. What is missing is continued: the square of the attenuation of
an ellipse falls linearly with the square of the distance from the axis, so a straight line through it, over the outer
eighth of the field, tells where the sample ends. Each projection then falls from its outermost value to zero there, as
that of an ellipse does.

In a half acquisition the axis lies near an edge of the field, and the rotation turns by 360 degrees. What one
projection lacks on the near side, the one that is taken half a turn later shows on the far side, mirrored. Each
projection is laid into a field that is as wide on both sides of the axis; where both show the sample, they share it
with weights that add up to the same everywhere.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Sinograms = npt.NDArray[Any]
LEAST_PX = 4
OUTER_SHARE = 8
"""The line is drawn through the outermost one of so many parts of the field, on either side."""


@dataclass(frozen=True, eq=False)
class Edges:
    """How projections are continued: what the outermost value is multiplied by at each further column.

    Attributes:
        left: from the nearest column on, shape (columns,).
        right: likewise, same shape.
    """

    left: Floats
    right: Floats

    @classmethod
    def constant(cls, columns: int) -> "Edges":
        """The outermost value itself."""
        ones = np.ones(columns, np.float32)
        return cls(ones, ones)

    @property
    def columns(self) -> int:
        """Number of further columns on either side."""
        return len(self.left)


def most_columns(width: int) -> int:
    """Columns by which projections are continued at most, on either side."""
    return width


def estimated_edges(sinograms: Sinograms, centre_px: float) -> Edges:
    """How a sample that is wider than the field is best continued, as far as its projections tell.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width); some rows will do.
        centre_px: detector column of the rotation axis.
    """
    width = int(sinograms.shape[2])
    outer = max(2, width // OUTER_SHARE)
    square = np.mean(np.square(sinograms, dtype=np.float64), axis=(0, 1))
    from_axis = np.arange(width) - centre_px
    sides = [slice(0, outer), slice(width - outer, width)]
    reach: list[float] = []
    for side in sides:
        line = np.asarray(np.polyfit(from_axis[side] ** 2, square[side], 1), np.float64)
        slope, at_axis = float(line[0]), float(line[1])
        reach.append(float(np.sqrt(at_axis / -slope)) if slope < 0 < at_axis else np.inf)
    nearest = [abs(from_axis[0]) + 0.5, abs(from_axis[-1]) + 0.5]
    both = [end for end in reach if np.isfinite(end)]
    end = float(np.mean(both)) if both else np.inf
    most = most_columns(width)
    columns = int(np.clip(max(end - edge for edge in nearest), LEAST_PX, most)) if np.isfinite(end) else most // 4
    beyond = np.arange(1, columns + 1)
    shapes: list[Floats] = []
    for edge in nearest:
        last = max(end, edge + LEAST_PX) if np.isfinite(end) else edge + columns
        shape = np.sqrt(np.maximum(last**2 - (edge + beyond) ** 2, 0) / (last**2 - edge**2))
        shapes.append(shape.astype(np.float32))
    return Edges(*shapes)


@dataclass(frozen=True, eq=False)
class Stitching:
    """How each projection of a half acquisition lies in the whole field.

    Attributes:
        width: of the whole field, pixels; the axis is in its middle, to half a pixel.
        before: columns of it to the left of a projection.
        centre_px: column of the axis in the whole field.
        weights: of each column of a projection, shape (width of the detector,); those of a column and of its mirror
            image add up to two.
    """

    width: int
    before: int
    centre_px: float
    weights: Floats

    @classmethod
    def of(cls, width: int, centre_px: float) -> "Stitching":
        """Of a detector of this width, with the axis at this column."""
        right = centre_px > (width - 1) / 2
        far = centre_px if right else width - 1 - centre_px
        near = width - 1 - far
        whole = int(np.ceil(2 * far)) + 1
        from_axis = np.arange(width) - centre_px
        towards_far = -from_axis if right else from_axis
        share = np.clip(towards_far / max(near, 0.5), -1, 1)
        weights = 1 + np.sin(np.pi / 2 * share)
        before = 0 if right else whole - width
        return cls(whole, before, centre_px + before, weights.astype(np.float32))

    def laid_out(self, lines: Floats) -> Floats:
        """Interleaved lines in the whole field, shape (n_angles, whole width, lanes)."""
        wide = np.zeros((lines.shape[0], self.width, lines.shape[2]), np.float32)
        np.multiply(lines, self.weights[:, None], out=wide[:, self.before : self.before + lines.shape[1]])
        return wide
