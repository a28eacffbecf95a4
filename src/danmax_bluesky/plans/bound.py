"""What the plans of a session have in common: the devices and settings that they are bound to."""

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

from danmax_bluesky.config import Settings
from danmax_bluesky.devices.configurator_store import ConfiguratorStore
from danmax_bluesky.devices.flat_positions import FlatPositions
from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.parameters import Metadata
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.runs.metadata import refuse_reserved

if TYPE_CHECKING:
    from danmax_bluesky.storage.scan import Scan


class BoundPlans:
    """The devices and settings of a session, for its plans.

    Args:
        rig: the devices.
        settings: detectors and their kinds.
        visit: folders of the visit.
        tell: takes a text for the person at the prompt.
        last_scan: opens the run that was measured last, once its files are complete.
    """

    def __init__(
        self,
        rig: Rig,
        settings: Settings,
        visit: VisitPaths,
        tell: Callable[[str], None] = lambda _text: None,
        last_scan: "Callable[[], Scan]" = lambda: _nothing_measured(),
    ) -> None:
        self.tell = tell
        self.last_scan = last_scan
        self.configurator = ConfiguratorStore(visit.state / "configurator.json")
        self._rig = rig
        self._settings = settings
        self._visit = visit
        self.positions = FlatPositions(visit.positions)

    @property
    def settings(self) -> Settings:
        """What the plans go by; another visit brings its own scan parameters and named positions."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._visit = VisitPaths.of(settings)
        self.configurator.move(self._visit.state / "configurator.json")
        self.positions = FlatPositions(self._visit.positions)

    def _active(self, kind: str) -> tuple[str, ...]:
        """Names of the active detectors of a kind.

        Raises:
            ScanError: there is none.
        """
        names = tuple(
            name for name, detector in self._settings.detectors.items() if detector.active and detector.kind == kind
        )
        if not names:
            raise ScanError(f"no active {kind} detector; name one, or set detectors.<name>.active in the settings")
        return names

    def _with_devices(self, devices: Iterable[Any]) -> Self:
        """The same plans with devices of a user's own in the rig, for one call.

        Raises:
            ScanError: another device has the name of one of them.
        """
        plans = copy.copy(self)
        plans._rig = self._rig.with_devices(devices)  # noqa: SLF001  of an object of this very class
        return plans

    def _md(self, command: str | None = None, sample: str | None = None, md: Metadata = None) -> dict[str, Any]:
        """What the start document of every plan says; the arguments are `RunOptions`.

        Raises:
            ScanError: a key of `md` is not a user's to set.
        """
        refuse_reserved(md or {}, "md={{{key!r}: ...}}")
        return {**(md or {}), "command": command, **({} if sample is None else {"sample": sample})}


def _nothing_measured() -> "Scan":
    raise ScanError("these plans belong to no session, which alone can open what was measured")
