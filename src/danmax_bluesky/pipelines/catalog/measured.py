"""The client of a catalogue in which a number names a measurement, and never what was made of it later.

Integrated patterns are a run of their own, which carries the number of the scan, and begins after it.
"""

import numbers
from typing import Any

from bluesky_tiled_plugins.clients.catalog_of_bluesky_runs import CatalogOfBlueskyRuns
from tiled.client.container import Container
from tiled.queries import KeyPresent

from danmax_bluesky.errors import CatalogError

DERIVED = "start.derived_from"


class MeasuredRuns(CatalogOfBlueskyRuns):
    """`catalog[-1]` and `catalog[12]` are runs that were measured, unless derived ones were searched for.

    By its uid every run is found, and `values()` holds them all.
    """

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, numbers.Integral | slice):
            return super().__getitem__(key)
        try:
            return CatalogOfBlueskyRuns.__getitem__(self._of_one_kind(), key)
        except (KeyError, IndexError):
            what = f"no scan {key}" if isinstance(key, int) and key > 0 else f"no run {key}"
            raise CatalogError(f"there is {what} among these runs; `danmax runs` lists what there is") from None

    def _of_one_kind(self) -> Any:
        if any(getattr(query, "key", None) == DERIVED for query in self._queries):
            return self
        return Container.search(self, KeyPresent(DERIVED, exists=False))


def measured(catalog: CatalogOfBlueskyRuns) -> MeasuredRuns:
    """The same catalogue, asked in this way."""
    return MeasuredRuns(catalog.context, item=catalog.item, structure_clients=catalog.structure_clients)
