"""Finding runs again."""

from typing import Any

import httpx

from danmax_bluesky.errors import CatalogError


def connect(uri: str, api_key: str = "") -> Any:
    """A client of the catalogue at `uri`, whose runs are in the order of measurement.

    Raises:
        CatalogError: nobody answers there, the key is wrong, or it is no catalogue of Bluesky runs.
    """
    from bluesky_tiled_plugins.clients.catalog_of_bluesky_runs import CatalogOfBlueskyRuns
    from tiled.client import from_uri

    try:
        catalog = from_uri(uri, api_key=api_key or None)
    except (httpx.HTTPError, ValueError) as error:
        raise CatalogError(f"the catalogue at {uri} does not answer as it should: {error}") from error
    if not isinstance(catalog, CatalogOfBlueskyRuns):
        catalog.context.close()
        raise CatalogError(f"{uri} is a {type(catalog).__name__}, not a catalogue of Bluesky runs; check catalog.uri")
    return catalog.sort(("start.time", 1))
