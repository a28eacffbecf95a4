"""`danmax shell`: an IPython session on the beamline."""

import click

from danmax_bluesky.cli import SettingsSource


@click.command("shell")
@click.option("--run", "code", help="run this Python code at the prompt and leave")
@click.pass_obj
def command(settings: SettingsSource, code: str | None) -> None:
    """An IPython session with RunEngine, plans and devices, as `profiles/profile_danmax_sim` starts it."""
    from IPython.terminal.embed import InteractiveShellEmbed

    from danmax_bluesky.session import make_session
    from danmax_bluesky.shell import install

    with make_session(settings()) as session:
        shell = InteractiveShellEmbed(banner1="", exit_msg="")
        install(shell, session)
        if code is None:
            shell(local_ns=shell.user_ns, module=shell.user_module)  # else it would have the names of this function
        else:
            shell.run_cell(code).raise_error()
