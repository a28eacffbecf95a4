import pytest

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.tomography.tori import ReconstructionSettings, load_tori, tori_names, tori_problem


def write(folder, name, text):
    (folder / ".tori").mkdir(exist_ok=True)
    (folder / ".tori" / f"{name}.toml").write_text(text)


def test_default_needs_no_file_and_may_have_one(tmp_path):
    assert load_tori(tmp_path, "default") == ReconstructionSettings()
    write(tmp_path, "default", 'rows = "all"\n')
    assert load_tori(tmp_path, "default").rows == "all"


def test_a_named_file_is_read(tmp_path):
    write(tmp_path, "bone", 'rows = [10, 20, 5]\ncentre_px = 511.5\nwindow = "hann"\n')
    found = load_tori(tmp_path, "bone")
    assert (found.rows, found.centre_px, found.window) == ((10, 20, 5), 511.5, "hann")
    assert tori_names(tmp_path) == ("default", "none", "bone")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rows = [5, 5, 1]", r"rows = \[5, 5, 1\]: give \[first, last \+ 1, step\]"),
        ('window = "box"', r"window = 'box'.*'hann'"),
        ("centre = 5", r"centre = 5.*it may say rows, centre_px"),
        ("centre_px = -1", r"centre_px = -1.*greater than or equal to 0"),
        ("rows =", r"cannot be read"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, text, told):
    write(tmp_path, "bone", text)
    with pytest.raises(SettingsError, match=told):
        load_tori(tmp_path, "bone")
    assert tori_problem(tmp_path, "bone", "auto")


def test_what_is_not_there_is_told_with_what_is(tmp_path):
    write(tmp_path, "bone", "")
    assert "there is no" in tori_problem(tmp_path, "wood", "auto")
    assert "letters" in tori_problem(tmp_path, "../bone", "auto")
    assert tori_problem(tmp_path, "none", "tori") == tori_problem(tmp_path, "bone", "auto") == ""


def test_the_axis_of_a_file_must_be_in_it(tmp_path):
    write(tmp_path, "bone", "")
    assert "does not say centre_px" in tori_problem(tmp_path, "bone", "tori")
    write(tmp_path, "bone", "centre_px = 12.5")
    assert tori_problem(tmp_path, "bone", "tori") == ""


@pytest.mark.parametrize(
    ("rows", "height", "expected"),
    [
        ("middle", 9, [4]),
        ("all", 3, [0, 1, 2]),
        ((2, 9, 3), 20, [2, 5, 8]),
        ((2, 9, 3), 7, [2, 5]),
        ((50, 60, 1), 7, []),
    ],
)
def test_rows_lie_in_the_frame(rows, height, expected):
    assert list(ReconstructionSettings(rows=rows).rows_of(height)) == expected
