"""`danmax settings`: what can be set, and to what it is set now."""

import re

import click
from rich.table import Table

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.config import PREFIX, setting_keys
from danmax_bluesky.screen import screen


@click.command("settings")
@click.option("--toml", is_flag=True, help="print the values as a settings file to start from")
@click.pass_obj
def command(settings: SettingsSource, toml: bool) -> None:
    """Every setting with its value, its environment variable and its option."""
    now = settings()
    if toml:
        click.echo(as_toml(now.model_dump(mode="json", exclude_none=True, exclude={"catalog": {"api_key"}})))
        return
    table = Table("setting", "value", "meaning", title="Settings")
    table.columns[0].no_wrap = True
    for key, description in setting_keys():
        value = now
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        table.add_row(key, str(value), description)
    screen().print(table)
    example = "twin.frame_bank"
    variable = PREFIX + example.replace(".", "__").upper()
    screen().print(f"{example}, for one, is also the option --{example.replace('_', '-')} and the variable {variable}")


def as_toml(values: dict, prefix: str = "") -> str:
    """Nested values as TOML text: scalars and lists first, then one table for each mapping."""
    plain = [f"{_key(key)} = {_literal(value)}" for key, value in values.items() if not isinstance(value, dict)]
    tables = [
        f"\n[{prefix}{_key(key)}]\n{as_toml(value, f'{prefix}{_key(key)}.')}"
        for key, value in values.items()
        if isinstance(value, dict)
    ]
    return "\n".join(plain + tables)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_literal(item)}" for key, item in value.items()) + "}"
    return str(value)
