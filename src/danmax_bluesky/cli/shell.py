"""`danmax shell`: an IPython session on the beamline."""

import click

from danmax_bluesky.cli import SettingsSource


@click.command("shell")
@click.option("--run", "code", help="run this Python code at the prompt and leave")
@click.option("--live", is_flag=True, help="serve the page that shows what a scan is doing, as session.live() does")
@click.pass_obj
def command(settings: SettingsSource, code: str | None, live: bool) -> None:
    """An IPython session with RunEngine, plans and devices, as `profiles/profile_danmax_sim` starts it."""
    from IPython.terminal.interactiveshell import TerminalInteractiveShell

    from danmax_bluesky.session import make_session
    from danmax_bluesky.shell import install

    now = settings()
    if live and not now.live.start:
        now = now.model_copy(update={"live": now.live.model_copy(update={"start": True})})
    with make_session(now) as session:
        shell = TerminalInteractiveShell.instance()
        install(shell, session)
        if code is None:
            shell.mainloop()
        else:
            shell.run_cell(code).raise_error()
