"""`danmax plot`: a picture of what a scan measured."""

from pathlib import Path

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journal_of
from danmax_bluesky.errors import SettingsError, StorageError
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import record_of


@click.command("plot", epilog=HELP)
@click.argument("scan", required=False)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="write this picture, and open no window"
)
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, output: Path | None) -> None:
    """Show what a scan measured, as `scan.plot()` does, in a window or as a picture.

    A tomography is shown by a projection and a slice, a mesh by a map, a scan of a motor and a series by their
    patterns, a single exposure by its pattern, everything else by its last frame. The ending of the picture's name
    says its kind: png, pdf or svg. For example:

    \b
    danmax plot
    danmax plot 7
    danmax plot 7 -o scan-0007.png
    """  # noqa: D301  click reads \b
    from matplotlib import pyplot  # late: it takes a second to import

    from danmax_bluesky.storage.reading import open_scan

    files = record_of(journal_of(settings(), scan)).files
    if output is None:
        pyplot.ion()
        if pyplot.get_backend().casefold() == "agg":
            raise SettingsError(f"no window can be opened here; danmax plot {files.stem} -o {files.stem}.png draws it")
    elif output.suffix.removeprefix(".").casefold() not in ("png", "pdf", "svg"):
        raise SettingsError(f"--output {output}: its ending must be .png, .pdf or .svg")
    if not files.master.exists():
        raise StorageError(f"{files.master} does not exist; `danmax rebuild {files.documents}` writes it again")
    figure = open_scan(files.master).plot()
    if output is None:
        pyplot.show(block=True)
        return
    try:
        figure.savefig(output, dpi=130)
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror or error}") from error
    screen(stderr=True).print(f"written to {output}", soft_wrap=True, highlight=False, markup=False)
