"""What README and help show works as it stands, from any folder, without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from danmax_bluesky.cli import COMMANDS, cli

README_FOLDER = Path(__file__).parents[2]
README = (README_FOLDER / "README.md").read_text(encoding="utf-8")
FAST = {
    "DANMAX_TWIN__CLOCK": "fast",
    "DANMAX_CATALOG__KIND": "off",
    "DANMAX_FORMATS__INTEGRATE": "false",
    "DANMAX_FORMATS__RECONSTRUCT": "false",
    "DANMAX_DETECTORS__PILATUS__WIDTH": "487",
    "DANMAX_DETECTORS__PILATUS__HEIGHT": "407",
}
PROGRAM = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()"]


def examples_of(text):
    """Commands as they stand in a text, without their remarks."""
    found = [
        line.partition("  #")[0].strip() for line in re.findall(r"(?:\$ |: +|^ *)(danmax .*)$", text, re.MULTILINE)
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
    if name == "azint-server":
        (tmp_path / words[2]).mkdir(parents=True)
    for path in (Path(word) for word in words[2:] if word.endswith(".h5")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    command, rest = command_of(name), words[2:]
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context(name, rest) as context:
        assert set(context.params) == {known.name for known in command.params if known.expose_value}


def test_no_help_shows_the_marks_of_its_making():
    for name in COMMANDS:
        assert "\\b" not in (command_of(name).help or ""), name
