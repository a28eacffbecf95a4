"""`danmax newfolder`: where the files of the next scans go."""

import click
from rich.console import Console

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.config import Settings, changed, remember
from danmax_bluesky.devices.paths import VisitPaths


@click.command("newfolder")
@click.argument("folder")
@click.pass_obj
def command(settings: SettingsSource, folder: str) -> None:
    """All files of the scans of the sessions that begin from now on go to FOLDER, below raw/ and process/.

    It holds until the next `newfolder`, or until settings file, environment or an option name another one. A session
    that is open goes on where it is: say newfolder there.
    """
    go_on_with(settings(), folder=folder)


def go_on_with(settings: Settings, **changes: str) -> None:
    """Keep another place or sample for the sessions that follow, and tell where their files go.

    Raises:
        SettingsError: a value may not be, or cannot be kept.
        StorageError: the place cannot be written to.
    """
    now = changed(settings, changes)
    visit = VisitPaths.of(now)
    visit.create()
    remember(settings, changes)
    text = f"sample {now.sample or 'without a name'}; files go to {visit.raw}"
    Console().print(text, soft_wrap=True, highlight=False, markup=False)
