"""Calibrants: those that pyFAI knows by name, and those whose spacings of planes stand in a file."""

import warnings

import numpy as np
from pyFAI.calibrant import get_calibrant, names
from pyFAI.crystallography.calibrant import Calibrant

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.parsing import shown
from danmax_bluesky.scattering.detectors import existing_file


def calibrant_of(name: str, wavelength_m: float) -> Calibrant:
    """A calibrant of pyFAI's.

    Args:
        name: pyFAI's name, such as "CeO2"; or a file with the spacing of one kind of lattice planes at the beginning
            of each line, Å, such as pyFAI's `.D` files. What follows "#" is a remark.
        wavelength_m: of the beam, m.

    Raises:
        CalibrationError: there is neither such a calibrant nor such a file, or the file holds no spacings.
    """
    if name in names():
        return get_calibrant(name, wavelength_m)
    file = existing_file(name, None)
    if file is None:
        raise CalibrationError(
            f"calibrant {shown(name)} is not known, nor is it a file of d-spacings; "
            f"pyFAI knows {', '.join(sorted(names()))}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without numbers, which is said below
            spacings = np.loadtxt(file, usecols=0, ndmin=1, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{file} cannot be read as d-spacings in Å, one a line: {error}") from None
    if not spacings.size or not np.isfinite(spacings).all() or spacings.min() <= 0:
        raise CalibrationError(f"{file} must hold d-spacings in Å, greater than 0, one at the beginning of each line")
    return Calibrant(dspacing=sorted(np.unique(spacings).tolist(), reverse=True), wavelength=wavelength_m)
