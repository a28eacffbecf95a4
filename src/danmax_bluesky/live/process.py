"""The process of the page, as a session starts it: it ends with the session."""

import importlib.util
import json
import os
import queue
import sys

from danmax_bluesky.config import PREFIX, Settings
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.pipelines.child_process import ChildProcess

READY = "ready "
"""What the process says before its address, once browsers may come."""
NOT_INSTALLED = "the live page needs panel and bokeh: pip install 'danmax-bluesky[live]'"
START_S = 60.0
END_S = 5.0


class LivePage:
    """Starts `danmax live` for the visit of a session, and waits until it answers.

    Args:
        settings: of the session.

    Attributes:
        address: to open in a browser.

    Raises:
        SettingsError: panel is not installed, or the page could not be served.
    """

    def __init__(self, settings: Settings) -> None:
        if importlib.util.find_spec("panel") is None:
            raise SettingsError(NOT_INSTALLED)
        said: queue.Queue[str] = queue.Queue()
        program = "import sys; from danmax_bluesky.cli import main; sys.exit(main())"
        self._process = ChildProcess(
            [sys.executable, "-c", program, "live", "--for-session"],
            on_line=lambda line: said.put(line.decode(errors="replace").strip()),
            on_end=lambda status: said.put(""),
            environment={**os.environ, **_environment(settings)},
        )
        try:
            line = said.get(timeout=START_S)
        except queue.Empty:
            line = ""
        if not line.startswith(READY):
            self.close()
            raise SettingsError(
                "the live page could not be started; what it printed says why, and `danmax live` tells it again"
            )
        self.address = line.removeprefix(READY)

    @property
    def is_running(self) -> bool:
        """False once it ended, however it ended."""
        return self._process.status is None

    def close(self) -> None:
        """End the page."""
        self._process.end(END_S)

    def __repr__(self) -> str:
        return f"the live page: {self.address}" if self.is_running else "the live page has ended; session.live()"

    def _repr_html_(self) -> str:
        return f'<a href="{self.address}" target="_blank">{self.address}</a>'


def _environment(settings: Settings) -> dict[str, str]:
    """What the page has to know of the settings, as variables: after `newvisit` it follows, which options prevent."""
    said, live = settings.said, settings.live
    values = {
        "BEAMLINE": settings.beamline,
        "DATA_ROOT": str(said["data_root"]),
        "PROPOSAL": said["proposal"],
        "VISIT": said["visit"],
        "STORAGE__ROOTS": json.dumps([str(root) for root in settings.storage.roots]),
        "LIVE__ADDRESS": live.address,
        "LIVE__PORT": str(live.port),
        "LIVE__NAMES": json.dumps(list(live.names)),
    }
    files = {"LIVE__CERTIFICATE": live.certificate, "LIVE__KEY": live.key}
    values |= {name: str(path) for name, path in files.items() if path is not None}
    return {f"{PREFIX}{name}": value for name, value in values.items()}
