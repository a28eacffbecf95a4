"""Pages of the reference that are made from the code, so that they cannot say anything else than it does."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import danmax_bluesky
from danmax_bluesky.cli import COMMANDS, cli
from danmax_bluesky.config import PREFIX, RecipeSettings, Settings, setting_keys
from danmax_bluesky.plans.user import plan_names

_FIELDS = {
    "Recipe": ("the keys of a recipe", "settings.md#a-recipe"),
    "Settings": ("the settings", "settings.md"),
    "TomoScan": ("those of a tomography", "../tomoscan.md"),
}
"""Model -> where its fields are listed."""


def write_pages(folder: Path) -> None:
    """Write every page anew; one that has not changed is left alone, so that Sphinx does not read it again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in pages().items():
        path, text = folder / name, "\n".join(lines) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def pages() -> dict[str, list[str]]:
    """File name -> lines."""
    return {
        "api.md": list(_public_names()),
        "plans.md": list(_plans()),
        "settings.md": list(_settings()),
        "commands.md": list(_commands()),
    }


def _public_names() -> Iterator[str]:
    yield "# API"
    yield ""
    yield "What each [public name](../public-names.md) takes, gives and raises."
    for name in sorted(danmax_bluesky.__all__, key=str.lower):
        value = getattr(danmax_bluesky, name)
        yield from ("", f"## {name}", "", "```{eval-rst}")
        if inspect.isclass(value) and issubclass(value, Exception):
            yield f".. autoexception:: danmax_bluesky.{name}"
        elif name == "Plans":  # they have a page of their own
            yield f".. autoclass:: danmax_bluesky.{name}"
        elif hasattr(value, "model_fields"):
            yield from (f".. autoclass:: danmax_bluesky.{name}(**values)", "   :no-index-entry:")
        elif inspect.isclass(value):
            yield from (f".. autoclass:: danmax_bluesky.{name}", "   :members:")
        else:
            yield f".. autofunction:: danmax_bluesky.{name}"
        yield "```"
        if hasattr(value, "model_fields"):
            yield from ("", f"Its parameters: [{_FIELDS[name][0]}]({_FIELDS[name][1]}).")


def _plans() -> Iterator[str]:
    yield "# Plans"
    yield ""
    yield "Every plan of a session: `RE(plans.azint_count(10, 0.5))`; at the prompt `RE(azint_count(10, 0.5))`."
    for name in plan_names():
        yield from ("", f"## {name}", "", "```{eval-rst}", f".. automethod:: danmax_bluesky.Plans.{name}", "```")
    yield from ("", "The [parameters of a tomography](../tomoscan.md) have a page of their own.")


def _fields(model: Any) -> Iterator[str]:
    yield "| parameter | usually | meaning |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        usual = "must be given" if field.is_required() else f"`{_cell(field.get_default(call_default_factory=True))}`"
        yield f"| `{name}` | {usual} | {_cell(field.description or '')} |"


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield f"Each is a key of the settings file, an option (`--data-root`) and a variable (`{PREFIX}DATA_ROOT`, with two"
    yield "underscores for a dot). [How they are set](../../how-to/settings.md)."
    yield from ("", "| key | usually | meaning |", "|---|---|---|")
    usual = Settings()
    for key, meaning in setting_keys():
        value: Any = usual
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        shown = "" if isinstance(value, dict | tuple) else _cell(str(value).replace(str(Path.home()), "~"))
        yield f"| `{key}` | {f'`{shown}`' if shown else ''} | {_cell(meaning)} |"
    yield from ("", "## A recipe", "", "Each entry of `recipes` has these keys.", "", *_fields(RecipeSettings))


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "Every command takes every [setting](settings.md) as an option too, which is left out here."
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=f"danmax {name}", max_content_width=110))
        yield from ("", f"## danmax {name}", "", "```text", text, "```")


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
