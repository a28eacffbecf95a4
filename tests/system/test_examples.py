"""What README and help show works as it stands, from any folder, without a warning."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from fabio.tifimage import TifImage
from pyFAI.calibrant import get_calibrant

from danmax_bluesky.cli import COMMANDS, cli
from danmax_bluesky.pipelines.calibrate import guessed_geometry
from danmax_bluesky.scattering.calibration_files import saxsdog_json
from danmax_bluesky.scattering.geometry import simulated_geometry

README_FOLDER = Path(__file__).parents[2]
README = (README_FOLDER / "README.md").read_text(encoding="utf-8")
FAST = {
    "DANMAX_TWIN__CLOCK": "fast",
    "DANMAX_CATALOG__KIND": "off",
    "DANMAX_FORMATS__INTEGRATE": "false",
    "DANMAX_FORMATS__RECONSTRUCT": "false",
    "DANMAX_DETECTORS__PILATUS__WIDTH": "487",
    "DANMAX_DETECTORS__PILATUS__HEIGHT": "407",
    "DANMAX_ENVIRONMENT__FURNACE__LIMITS": "[20, 900]",
}
SMALL = {"DANMAX_DETECTORS__ORCA__WIDTH": "96", "DANMAX_DETECTORS__ORCA__HEIGHT": "32"}
ENDLESS = ("--follow", "azint-server", "danmax live")
"""Commands that go on until somebody ends them, as do test_azint_offline, test_azint_server and test_live_page."""
PROGRAM = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()"]


def examples_of(text):
    """Commands as they stand in a text, without their remarks."""
    whole = re.sub(r"\\+\n *", "", text)  # a command that goes on in the next line
    found = [
        line.partition("  #")[0].strip() for line in re.findall(r"(?:\$ |: +|^ *)(danmax .*)$", whole, re.MULTILINE)
    ]
    return [line for line in found if "..." not in line]


def command_of(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def help_examples():
    """(command, example) for each example in a help."""
    for name in COMMANDS:
        for example in examples_of(command_of(name).help or ""):
            yield pytest.param(name, example, id=f"{name}: {example}")


def run(words, folder, data):
    known = {key: value for key, value in os.environ.items() if not key.startswith("DANMAX_")}
    environment = {**known, **FAST, "DANMAX_DATA_ROOT": str(data)}
    return subprocess.run(
        [*PROGRAM, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_the_commands_of_readme_work_in_their_order_without_a_warning(tmp_path):
    commands = [shlex.split(line)[1:] for line in examples_of(README)]
    assert ["files"] in commands
    for words in commands:
        said = run(words, tmp_path, tmp_path / "data")
        assert said.returncode == 0, said.stderr
        assert "warning" not in (said.stdout + said.stderr).lower(), said.stderr


def page_examples():
    """(command, example) for each command that a page of the documentation shows."""
    for page in sorted(README_FOLDER.glob("docs/*/*.md")):
        consoles = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for example in dict.fromkeys(line for text in consoles for line in examples_of(text)):
            words = shlex.split(example)
            if words[1] in COMMANDS and not any(word in ("|", "&", ">", "&&") or "<" in word for word in words):
                yield pytest.param(words[1], example, id=f"{page.stem}: {example}")


@pytest.mark.parametrize(("name", "example"), [*help_examples(), *page_examples()])
def test_an_example_of_a_help_is_understood(name, example, tmp_path, monkeypatch):
    """Parsed as it stands; whether its scan can be measured is what other tests show."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(example)
    assert words[:2] == ["danmax", name]
    if name in ("azint-server", "live") and len(words) > 2 and not words[2].endswith(".h5"):
        (tmp_path / words[2]).mkdir(parents=True)
    for path in (Path(word) for word in words[2:] if word.endswith(".h5")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    command, rest = command_of(name), words[2:]
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context(name, rest) as context:
        assert set(context.params) == {known.name for known in command.params if known.expose_value}


@pytest.mark.parametrize(("name", "example"), list(help_examples()))
def test_an_example_of_a_help_stands_in_a_terminal_as_it_is_typed(name, example):
    with click.Context(cli, info_name="danmax", terminal_width=80) as above:
        with click.Context(command_of(name), info_name=name, parent=above) as context:
            shown = command_of(name).get_help(context)
    assert example in examples_of(shown)


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """A visit with what the examples name: scan 7 in day1, frames of ceria, and calibrations."""
    root = tmp_path_factory.mktemp("root")
    visit, loose = root / "20260000" / "2026000001", tmp_path_factory.mktemp("loose")
    claims = visit / ".danmax" / "scans"
    claims.mkdir(parents=True)
    (claims / "scan-0006").touch()
    in_process(root, visit, ["azcount", "20", "0.02", "--sample", "CeO2", "--folder", "day1"], integrate=True)
    shape = (800, 760)
    ceria = guessed_geometry(shape, distance_mm=200.0, beam_px=(530, 487), energy_kev=30.5, pixel_um=172, orientation=2)
    angle = np.degrees(ceria.integrator().center_array(shape, unit="2th_rad"))
    rate = np.full(shape, 20.0)
    for line in np.degrees(get_calibrant("CeO2", ceria.wavelength_m).get_2th()):
        rate += 400 * np.exp(-0.5 * ((angle - line) / 0.06) ** 2)
    TifImage(data=np.random.default_rng(3).poisson(rate).astype(np.int32)).write(str(loose / "CeO2.tif"))
    (loose / "positions.txt").write_text("tom_sam_x tom_sam_y\n0.1 0.2\n0.3 0.1\n")
    columns = [f"{motor}{part}" for motor in ("fast", "slow") for part in ("", "_start", "_end", "_intervals")]
    (loose / "maps.txt").write_text(f"sample {' '.join(columns)}\nbone tom_sam_x 0 1 4 tom_sam_y 0 1 1\n")
    (loose / "old.poni").write_text(ceria.poni_text())
    small = simulated_geometry((407, 487), 172e-6, 0.2, 35.0, 2)
    (visit / "cal.poni").write_text(small.poni_text())
    (loose / "cal.json").write_text(saxsdog_json(small, {}))
    np.save(visit / "mask.npy", np.zeros((407, 487), bool))
    return visit, loose


def two_positions(visit, folder):
    """Frames and geometry of two positions; the same position twice is a pattern too."""
    for name in ("low", "high"):
        shutil.copy(visit / "raw" / "day1" / "scan-0007_pilatus.h5", folder / f"{name}.h5")
        shutil.copy(visit / "cal.poni", folder / f"{name}.poni")
    return folder


def in_process(root, folder, words, *, integrate=False):
    """As `run`, in this process, which has imported everything already."""
    environment = {**FAST, **SMALL, "DANMAX_DATA_ROOT": str(root), "DANMAX_FORMATS__INTEGRATE": str(integrate)}
    before = Path.cwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(cli, words, env=environment)
    finally:
        os.chdir(before)
    assert result.exit_code == 0, f"{words}: {result.output} {result.exception}"
    return result.output


@pytest.mark.parametrize(
    "example",
    [
        example
        for _, example in (case.values for case in help_examples())
        if not any(word in example for word in ENDLESS) and (" plot" not in example or " -o " in example)  # no window
    ],
)
def test_an_example_of_a_help_works_as_it_stands(visit, tmp_path, example):
    words, (measured, loose) = shlex.split(example)[1:], visit
    if words[0] in ("azint", "plot"):
        root = measured.parents[1]
        folder = root if "20260000/" in example else measured
        if "--join" in words:
            folder = two_positions(measured, tmp_path)
    else:  # measured, or calibrated, where nothing is yet
        root = folder = tmp_path
        shutil.copytree(loose, tmp_path, dirs_exist_ok=True)
    said = in_process(root, folder, words)
    assert "warning" not in said.lower()


def test_no_help_shows_the_marks_of_its_making():
    for name in COMMANDS:
        assert "\\b" not in (command_of(name).help or ""), name
