"""Points that are no grid: a spiral, and those of a text file."""

import math
from pathlib import Path

from bluesky.plan_patterns import spiral_fermat

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.adaptive import Point

MOST_POINTS = 1_000_000


def spiral_points(centre: tuple[float, float], ranges: tuple[float, float], step: float) -> list[Point]:
    """Points of a sunflower's spiral within a rectangle, from its centre outwards, evenly dense.

    Args:
        centre: position of both motors.
        ranges: width and height of the rectangle.
        step: each point has an area of step times step for itself.

    Raises:
        ScanError: a number is out of range, or there would be too many points.
    """
    width, height = (abs(extent) for extent in ranges)
    if not step > 0 or not math.isfinite(step):
        raise ScanError(f"step = {step}: give a distance above 0 between the points of the spiral")
    if not width > 0 or not height > 0 or not math.isfinite(width * height):
        raise ScanError(f"the spiral is {width:g} wide and {height:g} high; give two lengths above 0")
    if (number := width * height / step**2) > MOST_POINTS:
        raise ScanError(f"step = {step:g}: the spiral would have {number:.3g} points; {MOST_POINTS} are the most")
    radius = step / math.sqrt(math.pi)  # the n-th point lies radius * sqrt(n) from the centre
    points = spiral_fermat("first", "second", centre[0], centre[1], width, height, radius, 1.0)
    return [(float(point["first"]), float(point["second"])) for point in points]


def read_points(file: Path) -> tuple[tuple[str, ...], list[Point]]:
    """Motors and positions of a text: names of the motors in its first line, and below them a position of each a line.

    What stands behind a # is left out; commas, semicolons and blanks are alike.

    Returns:
        names of the motors; and the points, in the order of the lines.

    Raises:
        ScanError: it cannot be read, or a line holds something else.
    """
    rows = read_table(file)
    (_, names), *lines = rows
    points: list[Point] = []
    for number, words in lines:
        try:
            point = tuple(float(word) for word in words)
        except ValueError:
            raise ScanError(f"{file}, line {number}: {' '.join(words)} are not all numbers") from None
        if len(point) != len(names) or not all(map(math.isfinite, point)):
            raise ScanError(f"{file}, line {number}: give a position of each of {', '.join(names)}")
        points.append(point)
    if not points or len(set(names)) < len(names):
        raise ScanError(f"{file}: name each motor once in the first line, and give a position of each a line below it")
    return tuple(names), points


def read_table(file: Path) -> list[tuple[int, list[str]]]:
    """Number and words of each line of a text that holds any.

    Raises:
        ScanError: it cannot be read, or holds nothing.
    """
    try:
        text = file.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ScanError(f"{file} cannot be read: {error}; give the path of a text") from None
    without = (line.partition("#")[0].replace(",", " ").replace(";", " ").split() for line in text.splitlines())
    rows = [(number, words) for number, words in enumerate(without, 1) if words]
    if not rows:
        raise ScanError(f"{file} is empty; its first line names the columns")
    return rows
