"""`danmax settings`: what can be set, and to what it is set now."""

import click
import tomli_w
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
        values = now.model_dump(mode="json", exclude_none=True, exclude={"catalog": {"api_key"}})
        click.echo(tomli_w.dumps(values), nl=False)
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
