from datetime import UTC, date, datetime, timedelta

import pytest

from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.client import find_runs, posix_seconds

NOW = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_lund(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Europe/Stockholm")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(*fields):
    return datetime(*fields, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (12.5, 12.5),
        ("2026-11-21", utc(2026, 11, 20, 23)),
        (date(2026, 7, 1), utc(2026, 6, 30, 22)),
        ("2026-11-21 13:00", utc(2026, 11, 21, 12)),
        ("2026-11-21T13:00:00+00:00", utc(2026, 11, 21, 13)),
        (datetime(2026, 11, 21, 13, tzinfo=UTC), utc(2026, 11, 21, 13)),
        ("today", utc(2026, 11, 20, 23)),
        ("yesterday", utc(2026, 11, 19, 23)),
        ("2h", utc(2026, 11, 21, 11, 30)),
        ("1.5 h", utc(2026, 11, 21, 12)),
        ("3d", utc(2026, 11, 18, 13, 30)),
        (timedelta(minutes=30), utc(2026, 11, 21, 13)),
    ],
)
def test_a_moment_is_taken_as_people_say_it(moment, expected):
    assert posix_seconds(moment, now=NOW) == expected


def test_a_date_as_an_end_includes_its_day():
    assert posix_seconds("2026-11-21", end=True) == utc(2026, 11, 21, 23)
    assert posix_seconds("today", end=True, now=NOW) == utc(2026, 11, 21, 23)
    assert posix_seconds("2026-11-21 13:00", end=True) == utc(2026, 11, 21, 12)


def test_a_day_on_which_the_clocks_change_ends_at_midnight():
    assert posix_seconds("2026-10-25", end=True) - posix_seconds("2026-10-25") == 25 * 3600


@pytest.mark.parametrize("moment", ["soon", "2026-13-01", "21/11/2026", True, ""])
def test_what_is_no_moment_is_refused_with_what_may_be_said(moment):
    with pytest.raises(CatalogError, match=r"is no time; say 2026-11-21"):
        posix_seconds(moment)


def test_a_status_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(CatalogError, match=r"'finished': must be one of complete, incomplete"):
        find_runs(None, status="finished")
