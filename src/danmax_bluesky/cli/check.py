"""`danmax check`: whether a scan's files are whole."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import StorageError
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.check import Finding, Severity, check_file, check_scan
from danmax_bluesky.storage.journals import record_of

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@click.command("check", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--deep", is_flag=True, help="read large files whole where the digest of the whole was recorded")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, deep: bool) -> None:
    """Check that links resolve, that sources are there and as they were, that nothing is missing.

    Every link and virtual source is opened, shapes, types, counts and digests are compared with what was recorded, lost
    frames and incomplete runs are named. The exit status is 0 only if there is no error. A file that belongs to no scan
    of this program is checked by itself.
    """
    console = screen()
    try:
        journals = journals_of(settings(), scan)
    except StorageError:
        if scan is None or not Path(scan).is_file():
            raise
        _show(console, Path(scan).name, check_file(Path(scan).absolute()))
        return
    errors = 0
    for journal in journals:
        record = record_of(journal)
        findings = check_scan(record, deep=deep)
        errors += _report(console, f"{journal.parent / record.files.stem} ({record.status})", findings)
    if errors:
        raise StorageError(f"{errors} errors in {len(journals)} scans")


def _show(console: Console, name: str, findings: list[Finding]) -> None:
    if _report(console, name, findings):
        raise StorageError(f"{name} is not whole")


def _report(console: Console, name: str, findings: list[Finding]) -> int:
    errors = sum(finding.severity == Severity.ERROR for finding in findings)
    console.print(f"[bold]{escape(name)}[/]: {'[green]whole[/]' if not findings else f'{len(findings)} findings'}")
    for finding in findings:
        colour = _COLOURS[finding.severity]
        text = f"  [{colour}]{finding.severity}[/] {escape(finding.file.name)}: {escape(finding.text)}"
        console.print(text, soft_wrap=True, highlight=False)
    return errors
