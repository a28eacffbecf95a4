import numpy as np
import pytest
from pyFAI.calibrant import get_calibrant

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.calibrants import calibrant_of

WAVELENGTH_M = 4e-11


def test_the_spacings_of_a_file_are_a_calibrant(tmp_path):
    known = get_calibrant("CeO2", WAVELENGTH_M)
    spacings = known.dspacing[:6]
    lines = ["# ceria of our own", *(f"{spacing!r}  # a ring" for spacing in reversed(spacings)), ""]
    (tmp_path / "ours.D").write_text("\n".join(lines), encoding="utf-8")
    found = calibrant_of(str(tmp_path / "ours.D"), WAVELENGTH_M)
    assert np.allclose(found.get_2th()[:6], known.get_2th()[:6])
    assert np.allclose(calibrant_of("CeO2", WAVELENGTH_M).get_2th(), known.get_2th())


@pytest.mark.parametrize("text", ["", "# nothing\n", "3.1\n-1.0\n", "3.1\nnan\n", "h k l\n"])
def test_a_file_without_spacings_is_named(tmp_path, text):
    (tmp_path / "none.D").write_text(text, encoding="utf-8")
    with pytest.raises(CalibrationError, match=r"none\.D .*d-spacings in Å"):
        calibrant_of(str(tmp_path / "none.D"), WAVELENGTH_M)


@pytest.mark.parametrize("name", ["CeO3", "~nobody_of_this_name/ours.D"])
def test_what_is_neither_known_nor_a_file_is_named(name):
    with pytest.raises(CalibrationError, match=rf"'{name}' is not known, nor is it a file of d-sp.*CeO2"):
        calibrant_of(name, WAVELENGTH_M)


def test_a_name_longer_than_any_file_has_is_no_calibrant():
    with pytest.raises(CalibrationError, match=r"'a+ \.\.\. is not known, nor is it a file"):
        calibrant_of("a" * 5000, WAVELENGTH_M)
