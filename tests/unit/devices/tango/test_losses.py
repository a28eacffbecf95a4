import time

import pytest

pytest.importorskip("tango")
pytest.importorskip("p4p")

from danmax_bluesky.beamlines.connections import Connections
from danmax_bluesky.devices.disconnects import lost


class Line:
    """To a device that is found to be lost only when somebody looks."""

    def __init__(self, name, lost_now=False, lost_before_s=None):
        self.lost = self.last_loss = None
        self._now = lost(name, f"tango://{name}", 0.0, "refused") if lost_now else None
        if lost_before_s is not None:
            self.last_loss = lost(name, f"tango://{name}", 0.0, "refused")
            self.last_loss.noticed = time.time() - lost_before_s

    async def look(self):
        self.lost = self._now


async def test_those_are_told_that_are_lost_now_or_were_while_the_plan_ran():
    lines = [
        Line("gone", lost_now=True),
        Line("back", lost_before_s=5),
        Line("earlier", lost_before_s=20),
        Line("well"),
        Line("panda", lost_before_s=1000),
    ]
    devices = Connections({}, lines)
    found = await devices.losses(time.time() - 10)
    assert [error.device for error in found] == ["gone", "back"]
    assert str(found[1]).endswith("it answers again now")
    assert [error.device for error in await devices.losses(0.0)] == ["gone", "back", "earlier"]
