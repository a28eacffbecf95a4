"""`danmax tori`: settings files of reconstructions, made, checked and shown."""

from pathlib import Path

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.text_files import write_text
from danmax_bluesky.tomography.methods import check_parameters, method_of
from danmax_bluesky.tomography.stripes import check_stripes
from danmax_bluesky.tomography.tori import load_tori, new_tori_path, read_tori, tori_names, tori_path, tori_text


@click.group("tori")
def command() -> None:
    """Settings files of reconstructions, in the visit's .tori/ folder; a scan and `danmax reconstruct` name them."""


@command.command("new")
@click.argument("name")
@click.pass_obj
def new(settings: SettingsSource, name: str) -> None:
    """Write a file of this NAME that says of every key what it means; all are at their defaults."""
    visit = _visit(settings)
    path = new_tori_path(visit, name)
    if path.exists():
        raise SettingsError(f"{path} is there already; edit it, or choose another name")
    write_text(path, tori_text(), is_ours=lambda _: False)
    _print(str(path))


@command.command("check")
@click.argument("name")
@click.pass_obj
def check(settings: SettingsSource, name: str) -> None:
    """Whether the file of this NAME, or this path, can be used, and the packages that it needs are there."""
    path = _path(settings, name)
    settings_of_file = read_tori(path)
    check_parameters(settings_of_file.method, settings_of_file.parameters)
    check_stripes(settings_of_file.stripes)
    _print(f"{path}: can be used; method {settings_of_file.method}: {method_of(settings_of_file.method).cite}")


@command.command("show")
@click.argument("name", required=False)
@click.pass_obj
def show(settings: SettingsSource, name: str | None) -> None:
    """Every value of the file of this NAME, or this path; without one, the names that there are."""
    if name is None:
        _print("\n".join(tori_names(_visit(settings))))
        return
    path = _path(settings, name)
    values = load_tori(_visit(settings), name) if not path.exists() else read_tori(path)
    for key, value in values.model_dump(mode="json").items():
        _print(f"{key} = {value!r}")


def _visit(settings: SettingsSource) -> Path:
    values = settings()
    return values.data_root / values.proposal / values.visit


def _path(settings: SettingsSource, name: str) -> Path:
    """A file that is named by its path, or by its name in the visit."""
    path = Path(name)
    return path if path.suffix in (".toml", ".yaml", ".yml") else tori_path(_visit(settings), name)


def _print(text: str) -> None:
    screen().print(text, soft_wrap=True, highlight=False, markup=False)
