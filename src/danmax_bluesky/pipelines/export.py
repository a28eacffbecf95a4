"""Patterns as text files, one for each frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.scattering.text_formats import chi_text, xy_text, xye_text
from danmax_bluesky.storage.patterns import read_patterns, read_recipe
from danmax_bluesky.storage.text_files import write_text


def export_text(file: Path, kind: Literal["chi", "xy", "xye"], folder: Path | None = None) -> Iterator[Path]:
    """Write each pattern of a file as text, and name each file that was written.

    Args:
        file: of patterns.
        kind: "chi" with a header, "xye" with 2theta, intensity and error, or "xy" with 2theta and intensity alone.
        folder: where to; None takes a folder beside the file.

    Raises:
        StorageError: a text file exists already, or cannot be written.
        FormatError: the patterns cannot be told so.
    """
    patterns = read_patterns(file)
    if patterns.intensity.ndim != 2:
        raise StorageError(f"{file} holds cakes alone; integrate with a pattern beside the cake to export text")
    recipe = read_recipe(file)
    target = folder or file.with_name(f"{file.stem}_{kind}")
    target.mkdir(parents=True, exist_ok=True)
    stem = file.stem.removesuffix("_integrated")
    wavelength = float(recipe["wavelength"])
    norms = patterns.frame_norms()
    for row, number in enumerate(patterns.index):
        sigma = None if patterns.sigma is None else patterns.sigma[row]
        values = (patterns.radial_axis, patterns.intensity[row], sigma, patterns.quantity, patterns.unit)
        if kind == "xye":
            text = xye_text(*values, wavelength, norms[row])
        elif kind == "xy":
            text = xy_text(patterns.radial_axis, patterns.intensity[row], *values[3:], wavelength)
        else:
            parameters = {key: value for key, value in recipe.items() if not isinstance(value, np.ndarray)}
            text = chi_text(*values, parameters, {key: float(v[row]) for key, v in patterns.integrals.items()})
        path = target / f"{stem}_{int(number):05d}.{kind}"
        write_text(path, text, is_ours=lambda _: False)
        yield path
