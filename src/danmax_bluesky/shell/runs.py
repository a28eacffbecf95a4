"""The runs at the prompt: `cat[-1]`, `cat[12]`, `cat["3c5a1f"]`, `find_runs(sample="bone")`, `runs()`."""

import inspect
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from danmax_bluesky.errors import CatalogError
from danmax_bluesky.parsing import nearest
from danmax_bluesky.pipelines.catalog.run_table import table_of
from danmax_bluesky.session import Session


class Cat:
    """The catalogue of a session; nobody waits for its server before they ask it something."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, which: Any) -> Any:
        catalog = self._session.catalog
        if isinstance(which, int) and which < 0 and (late := self._late):
            raise CatalogError(f"cat[{which}]: {len(late)} run(s) are over and not in the catalogue yet; ask again")
        try:
            return catalog[which]
        except (KeyError, ValueError) as error:
            raise CatalogError(f"cat[{which!r}]: {error.args[0] if error.args else error}") from None

    @property
    def _late(self) -> list[str]:
        service = self._session.catalog_service
        return [] if service is None else service.late

    def __len__(self) -> int:
        return len(self._session.catalog)

    def __iter__(self) -> Iterator[str]:
        return iter(self._session.catalog)

    def __repr__(self) -> str:
        return repr(self._session.catalog)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # shells look for methods of theirs
            raise AttributeError(name)
        return getattr(self._session.catalog, name)


def catalog_namespace(session: Session, console: Console) -> dict[str, Any]:
    """Names at the prompt: cat, find_runs and runs; what talks to the catalogue is imported when it is asked."""

    def find_runs(**asked: Any) -> Any:
        """The runs that are all of this, as a catalogue again: `find_runs(sample="bone", since="2d")[-1]`.

        Args:
            asked: sample, proposal, visit, folder, scan (a number, or the first and the last), plan, detector, status
                (complete, incomplete, failed, aborted, open), since and until ("today", "2026-11-21", "2h" ago), and
                derived (True for those made of others, as integrated patterns are, instead of those measured).
        """
        from danmax_bluesky.pipelines.catalog import client

        allowed = inspect.signature(client.queries).parameters
        for name, value in asked.items():
            if name not in allowed:
                raise CatalogError(f"{name} = {value!r}: runs have no such mark; {nearest(name, allowed)}")
        return client.find_runs(session.catalog, **asked)

    def runs(last: int = 20, **asked: Any) -> None:
        """Print the latest runs, or the latest of those that are all of what is asked for, as of `find_runs`."""
        from danmax_bluesky.pipelines.catalog import client

        runs = find_runs(**asked)
        rows = client.lines(runs, last, session.catalog_service.said if session.catalog_service else None)
        console.print(table_of(rows) if rows else "no run is all of that")

    return {"cat": Cat(session), "find_runs": find_runs, "runs": runs}
