"""Finding runs again.

Tiled's own syntax is a trap for people: `catalog.search({"sample": ...})` finds nothing, a key without `start.` is
given one, `until="2026-11-21"` leaves that day out, and lists cannot be asked for their members. `find_runs` says what
is meant.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table

from danmax_bluesky.errors import CatalogError
from danmax_bluesky.formats.scan_log import LogLine, line_of_documents
from danmax_bluesky.pipelines.catalog.run_table import table_of

if TYPE_CHECKING:
    import httpx

STATUSES = ("complete", "incomplete", "failed", "aborted", "open")
Moment = str | float | datetime | date | timedelta
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def connect(uri: str, api_key: str = "") -> Any:
    """A client of the catalogue at `uri`, whose runs are in the order of measurement.

    `catalog[-1]` is the latest that was measured, `catalog[12]` the latest with scan number 12, `catalog["3c5a1f"]` the
    run whose uid begins so, also one derived from another. Close it with `catalog.context.close()`.

    Raises:
        CatalogError: nobody answers there, the key is wrong, or it is no catalogue of Bluesky runs.
    """
    import httpx  # late, as all that comes with Tiled: a session without a catalogue does without it
    from bluesky_tiled_plugins.clients.catalog_of_bluesky_runs import CatalogOfBlueskyRuns

    try:
        catalog = open_client(uri, api_key)
    except (httpx.HTTPError, ValueError, RuntimeError) as error:
        raise CatalogError(f"the catalogue at {uri} does not answer as it should: {error}") from error
    if not isinstance(catalog, CatalogOfBlueskyRuns):
        catalog.context.close()
        raise CatalogError(f"{uri} is a {type(catalog).__name__}, not a catalogue of Bluesky runs; check catalog.uri")
    from danmax_bluesky.pipelines.catalog.measured import measured

    return measured(catalog).sort(("start.time", 1))


def open_client(uri: str, api_key: str, timeout: "httpx.Timeout | None" = None) -> Any:
    """A client of whatever is at `uri`; nothing stays open if that fails.

    Raises:
        Exception: as Tiled puts it.
    """
    from tiled.client import from_context
    from tiled.client.context import Context

    context, path = Context.from_any_uri(uri, api_key=api_key or None, timeout=timeout)
    try:
        return from_context(context, node_path_parts=path)
    except BaseException:
        context.close()
        raise


def find_runs(
    catalog: Any,
    *,
    sample: str | None = None,
    proposal: str | int | None = None,
    visit: str | int | None = None,
    folder: str | None = None,
    scan: int | tuple[int, int] | None = None,
    plan: str | None = None,
    detector: str | None = None,
    status: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    derived: bool = False,
) -> Any:
    """The runs that are all of these, as a catalogue again.

    For example::

        bone = find_runs(catalog, sample="bone", plan="tomo_scan", since="2d")
        bone[-1]["proj"]["orca"].read()  # the projections of the latest of them

    Args:
        catalog: a client, or the result of another search.
        sample: name of the sample.
        proposal: of the runs.
        visit: of the runs.
        folder: below raw/.
        scan: number in its visit, or the first and the last of several.
        plan: name of the plan, such as "tomo_scan".
        detector: name of a detector that took part.
        status: complete, incomplete, failed, aborted or open.
        since: a time, a date, "2026-11-21 13:00", "today", "2h" or "3d" (ago), POSIX seconds, or a timedelta (ago).
        until: the same; a date includes its whole day.
        derived: the runs that were derived from others, as integrated patterns are, instead of those measured.

    Raises:
        CatalogError: a value that cannot be asked for.
    """
    asked = {"sample": sample, "proposal": proposal, "visit": visit, "folder": folder, "scan": scan, "plan": plan}
    return search(
        catalog, queries(**asked, detector=detector, status=status, since=since, until=until, derived=derived)
    )


def search(catalog: Any, wanted: Iterable[Any]) -> Any:
    """The runs that answer all of these queries of Tiled's, whose keys are taken as they stand."""
    from tiled.client.container import Container

    for query in wanted:
        catalog = Container.search(catalog, query)  # that of the catalogue of runs would prefix `summary` with `start.`
    return catalog


def queries(
    *,
    sample: str | None = None,
    proposal: str | int | None = None,
    visit: str | int | None = None,
    folder: str | None = None,
    scan: int | tuple[int, int] | None = None,
    plan: str | None = None,
    detector: str | None = None,
    status: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    derived: bool = False,
) -> list[Any]:
    """What `find_runs` asks, in Tiled's terms.

    Raises:
        CatalogError: a value that cannot be asked for.
    """
    from tiled.queries import Comparison, Contains, Eq, KeyPresent, Operator

    equal = {
        "start.sample.name": sample,
        "start.proposal": None if proposal is None else str(proposal),
        "start.visit": None if visit is None else str(visit),
        "start.folder": folder,
        "start.plan_name": plan,
    }
    wanted: list[Any] = [KeyPresent("start.derived_from", exists=derived)]
    wanted += [Eq(key, value) for key, value in equal.items() if value is not None]
    if isinstance(scan, tuple):
        wanted.append(Comparison(Operator.ge, "start.scan_id", int(scan[0])))
        wanted.append(Comparison(Operator.le, "start.scan_id", int(scan[1])))
    elif scan is not None:
        wanted.append(Eq("start.scan_id", int(scan)))
    if detector is not None:
        wanted.append(Contains("start.detectors", f'"{detector}"'))  # the list is searched as JSON text
    if since is not None:
        wanted.append(Comparison(Operator.ge, "start.time", posix_seconds(since)))
    if until is not None:
        wanted.append(Comparison(Operator.lt, "start.time", posix_seconds(until, end=True)))
    if status == "open":
        wanted += [KeyPresent("stop", exists=False), KeyPresent("summary", exists=False)]
    elif status in STATUSES:
        wanted.append(Eq("summary.status", status))
    elif status is not None:
        raise CatalogError(f"status {status!r}: must be one of {', '.join(STATUSES)}")
    return wanted


def list_runs(catalog: Any, last: int | None = 20) -> Table:
    """The runs of a catalogue as a table, which a notebook shows and `rich.print` prints.

    For example::

        list_runs(find_runs(catalog, sample="bone"), last=10)

    Args:
        catalog: from `open_catalog` or a session, or the result of `find_runs`.
        last: only so many, the latest ones; None takes all.
    """
    return table_of(lines(catalog, last))


def lines(catalog: Any, last: int | None = None, said: Mapping[str, str] | None = None) -> list[LogLine]:
    """What the runs of a catalogue were, in the order of measurement.

    Args:
        catalog: a client, or the result of a search.
        last: only so many, the latest ones.
        said: uids of runs of which the catalogue does not know the end yet, with what to say of each in place of open.
    """
    runs = catalog.values() if last is None else catalog.values().tail(last)
    said = said or {}
    return [replace(line, status=said[line.uid]) if line.uid in said else line for line in _lines(runs)]


def _lines(runs: Any) -> Iterator[LogLine]:
    for run in runs:
        metadata = run.metadata
        stop = metadata.get("stop")
        summary = metadata.get("summary", {})
        status = summary.get("status") or _status_of(stop)
        rows = summary.get("rows") or (stop or {}).get("num_events", {})
        counts = {name: count for name, count in rows.items() if name != "baseline"}
        yield line_of_documents(metadata["start"], stop, status, counts, summary.get("missing", {}))


def _status_of(stop: Any) -> str:
    if stop is None:
        return "open"
    return {"success": "complete", "abort": "aborted", "fail": "failed"}[stop["exit_status"]]


def posix_seconds(moment: Moment, *, end: bool = False, now: datetime | None = None) -> float:
    """A moment as people say it, in POSIX seconds; times without a zone are those of this machine.

    Args:
        moment: see `find_runs`.
        end: for a date, the end of that day instead of its beginning.
        now: for the tests.

    Raises:
        CatalogError: it is none.
    """
    present = (now or datetime.now(UTC)).astimezone()
    match moment:
        case bool():
            raise _no_moment(moment)
        case int() | float():
            return float(moment)
        case timedelta():
            return (present - moment).timestamp()
        case datetime():
            return moment.timestamp()
        case date():
            day = moment + timedelta(days=1) if end else moment
            return datetime.combine(day, time()).timestamp()
    text = str(moment).strip()
    if match := _AGO.fullmatch(text):
        return present.timestamp() - float(match[1]) * _SECONDS[match[2]]
    days = {"today": 0, "yesterday": 1}
    if text in days:
        return posix_seconds(present.date() - timedelta(days=days[text]), end=end)
    try:
        return posix_seconds(date.fromisoformat(text), end=end)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise _no_moment(moment) from None


def _no_moment(moment: object) -> CatalogError:
    return CatalogError(f"{moment!r} is no time; say 2026-11-21, '2026-11-21 13:00', today, yesterday, 2h or 3d (ago)")
