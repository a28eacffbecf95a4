"""The reference of recipes is complete."""

from pathlib import Path

import click

from danmax_bluesky.cli import azint
from danmax_bluesky.config import RecipeSettings, SliceSettings

PAGE = (Path(__file__).parents[3] / "docs/reference/azint.md").read_text(encoding="utf-8")
NEGATED = "no_solid_angle"


def test_every_key_and_every_default_is_in_the_reference():
    for key, field in RecipeSettings.model_fields.items():
        (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{key}`" in line.split("|")[1]]
        default = field.default
        if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
            told = f"{default:g}" if isinstance(default, float) else str(default)
            assert told in line.split("|")[3], line
    assert all(f"`{key}`" in PAGE for key in SliceSettings.model_fields)


def test_every_option_that_changes_a_recipe_is_in_the_reference():
    for option in azint.command.params:
        if isinstance(option, click.Option) and option.name in (*RecipeSettings.model_fields, NEGATED):
            assert any(f"`{spelling}`" in PAGE for spelling in option.opts), option.opts
