import tomllib

import pytest
from click.testing import CliRunner

from danmax_bluesky.cli.settings import command
from danmax_bluesky.config import load_settings


@pytest.mark.parametrize("text", ['the "first" axis', "back\\slash", "two\nlines", "\x7f and \x01", "Ångström ± 1 µm"])
def test_settings_that_are_printed_as_a_file_are_read_as_they_are(tmp_path, text):
    options = {"data_root": str(tmp_path), "motors.tom_ry.description": text}
    settings = load_settings(options=options)
    printed = CliRunner().invoke(command, ["--toml"], obj=lambda: settings, catch_exceptions=False).output
    assert tomllib.loads(printed)["motors"]["tom_ry"]["description"] == text
    file = tmp_path / "settings.toml"
    file.write_text(printed, encoding="utf-8")
    assert load_settings(file).model_dump() == settings.model_dump()
