"""The live page in a browser, beside a tomography, a mesh and a count of the twin."""

import http.client
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h5py
import numpy as np
import pytest

from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.session import Session
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.maps import read_map
from danmax_bluesky.storage.patterns import read_history, read_patterns
from danmax_bluesky.storage.provenance_journal import Provenance

pytest.importorskip("panel", reason="the live page needs panel: pip install 'danmax-bluesky[live]'")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: pip install playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with: apt-get install chromium")

PATIENCE_MS = 60_000
VIEWS = ("now", "camera", "diffraction", "tomography", "map", "history", "scans", "provenance")
TITLE = "azint_count(12, 0.02)"
SEEN = """() => {
  window.seen = [];
  setInterval(() => {
    const texts = [];
    const walk = (node) => {
      for (const child of node.querySelectorAll("*")) {
        if (child.classList.contains("state")) texts.push(child.textContent);
        if (child.classList.contains("value")) texts.push(child.textContent);
        if (child.shadowRoot) walk(child.shadowRoot);
      }
    };
    walk(document);
    const text = texts.join(" | ");
    if (window.seen.at(-1) !== text) window.seen.push(text);
  }, 50);
}"""
"""Notes whatever state and values the page shows, while the session measures."""


TOMOGRAPHY, MESH, COUNT = 1, 2, 3


class _Killer:
    """Kills the worker that integrates, as soon as a scan has its third point."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._points = 0
        self.is_done = False

    def __call__(self, name: str, doc: Any) -> None:
        self._points += name in ("event", "event_page") and "pilatus" in str(doc.get("data", "pilatus"))
        if self._points >= 3 and not self.is_done and self._session.integration is not None:
            pid = self._session.integration.supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            self.is_done = True


class Browser:
    """A page in Chromium, with everything that it said and asked for."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.address = address
        self.said: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.add(request.url))

    def open(self, view: str, scan: str = "") -> None:
        self.page.goto(f"{self.address}?view={view}&scan={scan}")
        self.page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0", timeout=PATIENCE_MS)

    def source(self, name: str, column: str, condition: str = "true") -> Any:
        """What the browser holds of a data source, once it has something for which the condition holds."""
        self.page.wait_for_function(
            f"""() => {{
              const source = Bokeh.documents[0].get_model_by_name("{name}");
              const value = source && source.data["{column}"];
              return value && value.length > 0 && ({condition});
            }}""",
            timeout=PATIENCE_MS,
        )
        found = self.page.evaluate(
            f"""() => {{
              const value = Bokeh.documents[0].get_model_by_name("{name}").data["{column}"];
              const whole = (one) => one && one.shape
                ? {{shape: one.shape, values: Array.from(one, (x) => Number.isNaN(x) ? null : x)}} : one;
              return value.shape ? whole(value) : Array.from(value, whole);
            }}"""
        )
        first = found[0] if isinstance(found, list) else found
        if not isinstance(first, dict):
            return np.array(found, float)
        return np.array([np.nan if value is None else value for value in first["values"]]).reshape(first["shape"])

    @property
    def errors(self) -> list[str]:
        return [text for text in self.said if text.startswith("error")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def session(session_of) -> Session:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return session_of(**{"live.port": port, "formats.integrate": True, "folder": "day1"})


@pytest.fixture(scope="module")
def browser(session: Session, chromium: Any) -> Browser:
    """Sees a tomography, a mesh in which the worker is killed, and a count, from before the first of them begins."""
    browser = Browser(chromium.new_context(viewport={"width": 1440, "height": 1000}), session.live().address)
    browser.open("now")
    browser.page.get_by_text("No scan yet").wait_for(timeout=PATIENCE_MS)
    browser.page.evaluate(SEEN)
    session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 120, 0.01, npt_fields=4))
    kill = _Killer(session)
    token = session.RE.subscribe(kill)
    session.RE(session.plans.mesh("tom_sam_x", -0.3, 0.3, 2, "tom_sam_y", 0, 0.2, 1, 0.02))
    session.RE.unsubscribe(token)
    assert kill.is_done
    session.RE(session.plans.azint_count(12, 0.02))
    session.wait_for_files()
    browser.page.get_by_text(TITLE).first.wait_for(timeout=PATIENCE_MS)
    browser.page.get_by_text("complete", exact=True).first.wait_for(timeout=PATIENCE_MS)
    return browser


def _files(session: Session, number: int) -> ScanFiles:
    return ScanFiles.of({**(session.last_run or {}), "scan_id": number})


def _frames(session: Session, detector: str, number: int) -> np.ndarray:
    with h5py.File(_files(session, number).detector(detector)) as file:
        return np.asarray(file[f"/entry/instrument/{detector}/data"])


def _rows(session: Session, number: int) -> dict[str, slice]:
    """Segment -> its rows in the detector's file."""
    record = record_of(_files(session, number).documents)
    return {
        segment.name: slice(source.start, source.stop)
        for segment in record.segments
        for source in segment.images.values()
    }


def test_the_page_shows_each_scan_while_it_is_measured(browser):
    seen = browser.page.evaluate("window.seen")
    assert any("measuring" in text for text in seen)
    assert sum("measuring" in text for text in seen) > 1  # frames came meanwhile
    assert "12 / 12" in seen[-1]


def test_the_camera_shows_the_frame_that_is_in_the_file(browser, session):
    browser.open("camera", f"{COUNT}")
    image = browser.source("frame", "image")
    frames = _frames(session, "pilatus", COUNT)
    last = frames[-1].astype(float)
    expected = np.where((last < 0) | (last == 2**32 - 1), np.nan, last)
    np.testing.assert_array_equal(image, expected)
    histogram = browser.source("histogram", "top")
    assert histogram.sum() > len(histogram)


def test_a_projection_is_divided_by_the_flat(browser, session):
    browser.open("camera", f"{TOMOGRAPHY}")
    image = browser.source("frame", "image")
    frames = _frames(session, "orca", TOMOGRAPHY).astype(np.float32)
    rows = _rows(session, TOMOGRAPHY)
    flat, dark = (frames[rows[name]].mean(axis=0) for name in ("flat_after", "dark_after"))
    lit = flat > dark
    expected = np.where(lit, (frames[rows["proj"]][-1] - dark) / np.where(lit, flat - dark, 1), np.nan)
    np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-5)
    across = browser.source("across", "y")
    np.testing.assert_allclose(across, np.nanmean(expected[15:17], axis=0), rtol=1e-4)


def test_the_pattern_is_the_last_one_in_the_file_with_its_error(browser, session):
    files = ScanFiles.of(session.last_run or {})
    patterns = read_patterns(files.computed("azint", "pilatus_integrated.h5"))
    browser.open("diffraction", f"{COUNT}")
    np.testing.assert_array_equal(browser.source("pattern", "x"), patterns.radial_axis)
    np.testing.assert_array_equal(browser.source("pattern", "y"), patterns.intensity[-1].astype(float))
    assert patterns.sigma is not None
    upper = patterns.intensity[-1].astype(float) + patterns.sigma[-1]
    np.testing.assert_allclose(browser.source("pattern", "upper"), upper, rtol=1e-6)
    assert browser.source("map", "image").shape == (12, 600)


def test_lines_of_a_calibrant_stand_where_the_pattern_has_its_peaks(browser):
    browser.open("diffraction", f"{COUNT}")
    x, y = browser.source("pattern", "x"), browser.source("pattern", "y")
    browser.page.get_by_label("lines of").select_option("CeO2")
    lines = browser.source("lines", "x")
    strongest = x[np.nanargmax(y)]
    assert np.abs(lines - strongest).min() < 0.02


def test_the_sinogram_fills_with_what_the_frames_hold_and_a_slice_is_made_of_it(browser, session):
    browser.open("tomography", f"{TOMOGRAPHY}")
    row = browser.source("sinogram", "image", "value[0].shape[0] === 121")
    frames = _frames(session, "orca", TOMOGRAPHY).astype(np.float64)[:, 16]
    projections = frames[8 : 8 + 121]
    transmission = np.exp(-row)
    before = (projections[0] - frames[0:4].mean(axis=0)) / (frames[4:8].mean(axis=0) - frames[0:4].mean(axis=0))
    np.testing.assert_allclose(transmission[0], np.maximum(before, 1e-6), rtol=0.02)
    slices = browser.source("slice", "image")
    assert slices.shape == (96, 96)
    assert np.nanmax(slices) > 0


def test_a_map_holds_the_integrals_of_the_file_also_after_the_worker_was_killed(browser, session):
    files = _files(session, MESH)
    expected = read_map(files.documents, "I0")
    assert np.isfinite(expected.values).all()
    browser.open("map", f"{MESH}")
    image = browser.source("map_image", "image")
    np.testing.assert_array_equal(image, expected.values)


def test_a_click_on_a_point_of_the_map_shows_its_pattern_and_its_frame(browser, session):
    files = _files(session, MESH)
    browser.open("map", f"{MESH}")
    browser.source("map_point", "x", "value[0] < 0")  # the last point is at the left: the second row goes back
    browser.source("map_frame", "image")
    x, y = browser.page.evaluate(
        """() => {
          const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("map"));
          const box = view.canvas_view.el.getBoundingClientRect();
          return [box.left + view.frame.x_scale.compute(0.3), box.top + view.frame.y_scale.compute(0.0)];
        }"""
    )
    browser.page.mouse.click(x, y)
    browser.source("map_point", "x", "value[0] > 0.29")
    patterns = read_patterns(files.computed("azint", "pilatus_integrated.h5"))
    np.testing.assert_array_equal(browser.source("map_pattern", "y"), patterns.intensity[2].astype(float))
    frame = _frames(session, "pilatus", MESH)[2].astype(float)
    expected = np.where((frame < 0) | (frame == 2**32 - 1), np.nan, frame)
    np.testing.assert_array_equal(browser.source("map_frame", "image"), expected)


def test_the_history_holds_the_integral_parameters_of_the_file(browser, session):
    index, columns, integrals = read_history(_files(session, COUNT).computed("azint", "pilatus_integrated.h5"))
    browser.open("history", f"{COUNT}")
    np.testing.assert_array_equal(browser.source("history_0", "x"), index)
    for number, name in enumerate(list(integrals)[:4]):
        np.testing.assert_array_equal(browser.source(f"history_{number}", "y"), integrals[name])
    channel = next(name for name, values in columns.items() if values.dtype.kind == "f" and len(set(values)) == 12)
    browser.page.get_by_label("against").select_option(channel)
    first = float(np.sort(columns[channel])[0])
    along = browser.source("history_0", "x", f"value[0] === {first!r}")
    np.testing.assert_array_equal(along, np.sort(columns[channel]))


def test_every_scan_is_listed_found_by_its_words_and_opened_by_a_click(browser):
    browser.open("scans", f"{TOMOGRAPHY}")
    rows = browser.page.locator("table.scans tr")
    browser.page.get_by_text("3 scans").wait_for(timeout=PATIENCE_MS)
    assert rows.count() == 4
    assert rows.nth(1).inner_text().split()[0] == f"{COUNT}"
    assert "primary 12" in rows.nth(1).inner_text()
    browser.page.get_by_label("number, sample, folder or command").fill("bone mesh")
    browser.page.get_by_text("1 of 3 scans").wait_for(timeout=PATIENCE_MS)
    rows.nth(1).get_by_role("link").first.click()
    browser.page.get_by_text("mesh('tom_sam_x', -0.3, 0.3, 2").first.wait_for(timeout=PATIENCE_MS)
    assert "view=now" in browser.page.url


def test_the_provenance_shows_each_row_and_the_parameters_of_the_chosen_one(browser, session):
    actions = Provenance(_files(session, COUNT)).actions()
    browser.open("provenance", f"{COUNT}")
    rows = browser.page.locator("table.provenance tr")
    rows.nth(len(actions)).wait_for(timeout=PATIENCE_MS)
    assert [rows.nth(at).inner_text().split()[1] for at in range(1, len(actions) + 1)] == [
        action.actor.split()[0] for action in actions
    ]
    last = actions[-1]
    browser.page.get_by_label("row", exact=True).select_option(f"{len(actions)}: {last.actor}")
    shown = browser.page.locator(".details pre", has_text='"recipe"').first
    shown.wait_for(timeout=PATIENCE_MS)
    expected = json.dumps(dict(last.parameters), indent=2, ensure_ascii=False)
    assert shown.inner_text() == expected


def test_nothing_is_fetched_from_elsewhere_and_no_error_stands_in_the_console(browser):
    for view in VIEWS:
        browser.open(view)
        browser.page.get_by_text(TITLE).first.wait_for(timeout=PATIENCE_MS)
    addresses = [urlsplit(url) for url in browser.asked]
    assert {parts.netloc for parts in addresses if parts.scheme not in ("data", "blob")} == {
        urlsplit(browser.address).netloc
    }
    assert browser.errors == []


def test_a_page_that_was_killed_comes_back_by_itself_where_it_was(browser, session):
    browser.open("camera", f"{TOMOGRAPHY}")
    browser.source("frame", "image")
    browser.page.evaluate("window.before = true")
    os.kill(session.live()._process.pid, signal.SIGKILL)
    while session.live_address:
        os.sched_yield()
    session.live()
    browser.page.wait_for_function("!window.before", timeout=PATIENCE_MS)
    browser.page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0", timeout=PATIENCE_MS)
    assert browser.source("frame", "image").shape == (32, 96)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/", {"Host": "evil.example"}, 403),
        ("/static/js/bokeh.min.js", {"Host": "evil.example"}, 403),
        ("/", {"Origin": "http://evil.example"}, 403),
        ("/ws", {"Origin": "http://evil.example", "Upgrade": "websocket", "Connection": "Upgrade"}, 403),
        ("/autoload.js?bokeh-autoload-element=1", {"Host": "evil.example"}, 403),
        ("/static/../../../../../../etc/passwd", {}, 403),
        ("/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", {}, 403),
    ],
)
def test_the_page_answers_its_own_address_alone(session, path, headers, status):
    parts = urlsplit(session.live().address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert b"root:" not in answer.read()
    assert answer.status == status
    connection.close()


def test_a_scan_cannot_be_chosen_by_a_path(browser, session):
    browser.open("now", str(Path("/etc/passwd")))
    browser.page.get_by_text(TITLE).first.wait_for(timeout=PATIENCE_MS)
