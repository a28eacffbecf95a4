"""Which errors tell of the catalogue's server and the way to it."""

from danmax_bluesky.errors import CatalogError


class LostRequestError(CatalogError):
    """A request was repeated, or its answer did not arrive: nobody knows whether it was carried out."""


def is_outage(error: BaseException) -> bool:
    """True if an error tells of the server or the way to it, and not of the run that was written."""
    import httpx  # late: a session without a catalogue does without it

    if isinstance(error, LostRequestError | httpx.TransportError):
        return True
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in (401, 403, 408, 429)
    return False
