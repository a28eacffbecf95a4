"""`danmax` as a user calls it: the demo shows what it should, and bad input is answered clearly."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

DANMAX = Path(sys.executable).parent / "danmax"


def danmax(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DANMAX_")}
    return subprocess.run(
        [str(DANMAX), *arguments],
        capture_output=True,
        text=True,
        env={**clean, "COLUMNS": "200", **environment},
        timeout=280,
        check=False,
    )


def picture_is_not_blank(path: Path) -> bool:
    low, high = Image.open(path).convert("L").getextrema()
    return bool(high - low > 100)


def test_the_demo_shows_phantom_and_calibrant(tmp_path):
    result = danmax("demo", "--quick", "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stdout + result.stderr
    correlation = re.search(r"correlation (\d\.\d+), NRMSE (\d\.\d+)", result.stdout)
    assert correlation is not None
    assert float(correlation[1]) > 0.95
    assert float(correlation[2]) < 0.06
    lines = re.search(r"(\d+) lines found, (\d+) within 0.01 degrees", result.stdout)
    assert lines is not None
    assert int(lines[2]) >= 15
    pictures = sorted((tmp_path / "out/pictures").glob("*.png"))
    assert len(pictures) == 5
    assert all(picture_is_not_blank(picture) for picture in pictures)
    for name in ("scan-0001.h5", "scan-0001_dxchange.h5", "scan-0001_orca.h5", "scan-0002_pilatus_integrated.h5"):
        assert name in result.stdout


def test_the_demo_measures_the_recorded_tooth_and_ceo2(tmp_path, recorded_data):
    result = danmax("demo", "--quick", "--out", str(tmp_path / "out"), "--data", str(recorded_data))
    assert result.returncode == 0, result.stdout + result.stderr
    centre = re.search(r"axis at column (\d+\.\d+)", result.stdout)
    assert centre is not None
    assert float(centre[1]) == pytest.approx(296, abs=1)
    lines = re.search(r"(\d+) lines found, (\d+) within 0.01 degrees; largest error (\d\.\d+)", result.stdout)
    assert lines is not None
    assert int(lines[2]) >= 15


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tomoscan", "ascanct", "tom_ry", "0", "180", "10", "0.01", "--det", "eiger"), "eiger"),
        (("tomoscan", "ascanct", "tom_ry", "0", "180", "10", "-0.01"), "exp_time = -0.01"),
        (("azcount", "3", "0.1", "--data-root", "/proc/nowhere"), "data root /proc/nowhere cannot be used"),
        (("azcount", "3", "0.1", "--set", "twin.sed=3"), "did you mean 'seed'?"),
        (("azcount", "3", "0.1", "--set", "nonsense"), "is not key=value"),
        (("azcount", "three", "0.1"), "'three' is not a valid integer"),
        (("demo", "--out", "/proc/nowhere"), "choose a folder you may write to"),
        (("tomography",), "No such command"),
    ],
)
def test_bad_input_is_one_clear_message_and_a_status_that_says_so(tmp_path, arguments, told):
    rootless = "--data-root" in arguments or arguments[0] in ("demo", "tomography")
    root = () if rootless else ("--data-root", str(tmp_path))
    result = danmax(*arguments, *root, DANMAX_TWIN__CLOCK="fast", DANMAX_CATALOG__KIND="off")
    assert result.returncode != 0
    assert told in re.sub(r"\s+", " ", result.stderr + result.stdout)
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("**/*.h5"))


def test_help_teaches_every_command():
    listed = danmax("--help")
    assert listed.returncode == 0
    commands = re.findall(r"^  ([a-z-]+)  ", listed.stdout, flags=re.MULTILINE)
    assert {"demo", "shell", "tomoscan", "azcount", "files"} <= set(commands)
    assert "or example" in danmax("tomoscan", "--help").stdout
