"""`danmax live`: a page in the browser that shows what a scan is doing."""

import importlib.util
import sys
from pathlib import Path

import click

from danmax_bluesky.cli import SettingsSource, settings_over
from danmax_bluesky.config import Settings
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.live.process import NOT_INSTALLED, READY
from danmax_bluesky.live.scans import FolderScans, Scans, VisitScans
from danmax_bluesky.screen import screen


@click.command("live")
@click.argument("path", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--for-session", is_flag=True, hidden=True, help="end with the standard input")
@click.pass_obj
def command(settings: SettingsSource, path: Path | None, for_session: bool) -> None:
    """Serve a page that shows the scan that is measured: phases, frames, patterns, sinogram and slice.

    It follows the scans of the visit, one after another; any earlier one can be chosen at the page. With PATH it shows
    the scans of that folder, or that one scan, such as a folder that was taken home. It only reads, and needs nothing
    but the files: it can be started before, during and after a scan. For example:

    \b
    danmax live
    danmax live raw/day1
    danmax live raw/day1/scan-0012.h5

    On this machine everybody may look. For others, `live.address` is an address of this machine, and `live.certificate`
    and `live.key` are what HTTPS needs; the page then takes the token that is in the address which is printed.
    """  # noqa: D301  click reads \b
    if importlib.util.find_spec("panel") is None:
        raise SettingsError(NOT_INSTALLED)
    from danmax_bluesky.live.server import serve

    now = settings()
    context = click.get_current_context()

    def again() -> Settings:
        with context.scope(cleanup=False):  # another thread asks, for which there is none
            return settings_over(None)

    scans: Scans = VisitScans(again) if path is None else FolderScans(path, now.storage.roots)
    console = screen()

    def ready(address: str, token_file: Path | None) -> None:
        if for_session:
            sys.stdout.write(f"{READY}{address}\n")
            sys.stdout.flush()
            return
        console.print(f"{address}  Ctrl-C ends it", soft_wrap=True, highlight=False, markup=False)
        if token_file is not None:
            console.print(f"the token is also in {token_file}", soft_wrap=True, highlight=False, markup=False)

    serve(scans, now, ready, follows_input=for_session)
