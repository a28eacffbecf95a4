"""`danmax azint-server`: an integration server, controlled over HTTP on loopback."""

import signal
from pathlib import Path

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.pipelines.azint_http import ServiceServer
from danmax_bluesky.pipelines.azint_service import IntegrationService
from danmax_bluesky.pipelines.local_http import new_token, remove_token, write_token
from danmax_bluesky.screen import screen


@click.command("azint-server")
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--port", type=int, default=0, help="0 takes a free one")
@click.option(
    "--feeder", default="", help="0MQ address that announces new files; without it the folder is looked through"
)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="where to put the token; ROOT/.azint_token if not given"
)
@click.pass_obj
def command(
    settings: SettingsSource, root: Path | None, port: int, feeder: str, threads: int, token_file: Path | None
) -> None:
    """Integrate what comes to lie below ROOT, by the calibration that is sent to the server.

    It answers on the loopback interface alone, and only to those who know the token. For example:

    \b
    danmax azint-server 20260000/2026000001 --port 8090
    curl -H "Authorization: Bearer $(cat .azint_token)" http://127.0.0.1:8090/status
    curl -H "Authorization: Bearer $(cat .azint_token)" http://127.0.0.1:8090/new \\
         -d '{"calibration": {"poni": "cal.poni", "unit": "q_A^-1"}, "folder": "raw/day1"}'
    """  # noqa: D301  click reads \b
    console = screen()
    folder = root or settings().data_root
    token = new_token()
    file = token_file or folder / ".azint_token"
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)  # the token is taken away, however it ends
    service = IntegrationService(folder, feeder, threads)
    try:
        server = ServiceServer(service, token, port)
        write_token(file, token)
    except (OSError, OverflowError) as error:
        service.close()
        raise SettingsError(f"port {port} or {file} cannot be had: {error}") from error
    try:
        console.print(f"{server.address}, for those who know {file}; Ctrl-C ends it", soft_wrap=True, highlight=False)
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        remove_token(file, token)
        server.server_close()
        service.close()
