"""What the live page costs, and how fast it is: beside a scan, from a frame on disk to a pixel, with many scans.

    python benchmarks/bench_live.py [cost] [latency] [browsers] [memory] [scans] [--quick]

It opens the page in a headless Chromium. Each figure stands beside the load of the machine, without which it tells
little. `cost` alone measures on the twin; the others write the files of a scan as a detector and a session would.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from playwright.sync_api import sync_playwright

from danmax_bluesky.config import load_settings
from danmax_bluesky.formats.scan_log import as_csv, line_of
from danmax_bluesky.runs.record import fold
from danmax_bluesky.session import make_session
from danmax_bluesky.storage.journal import Journal, encoded

SIZE, RATE_HZ, SECONDS = 512, 50.0, 20.0
ROUNDS = 5
HOUR_FRAMES = 180_000
SCANS = 10_000
SEEN = """() => {
  window.seen = [];
  const look = () => {
    const source = window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].get_model_by_name("frame");
    const image = source && source.data.image && source.data.image[0];
    if (image) {
      const number = Math.round(image[0]);
      const last = window.seen.at(-1);
      if (!last || last[0] !== number) window.seen.push([number, (performance.timeOrigin + performance.now()) / 1e3]);
    }
    requestAnimationFrame(look);
  };
  look();
}"""
"""Notes which frame the page holds whenever it draws; the number of a frame is the value of its first pixel."""


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"


@contextmanager
def page_of(root: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """Address and process of a page that shows the scans below a folder."""
    program = "import sys; from danmax_bluesky.cli import main; sys.exit(main())"
    environment = {**os.environ, "DANMAX_LIVE__PORT": "0", "DANMAX_DATA_ROOT": str(root), "COLUMNS": "200"}
    command = [sys.executable, "-c", program, "live", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0], process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def chromium() -> Iterator[Any]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Any, address: str, view: str) -> Any:
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.goto(f"{address}?view={view}")
    page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0", timeout=120_000)
    return page


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Writer:
    """Writes frames as a detector does, and documents as a session does; a frame's first pixel is its number."""

    def __init__(self, root: Path, size: int, batch: int = 10) -> None:
        raw = root / "p" / "v" / "raw" / "day1"
        raw.mkdir(parents=True)
        self.written: dict[int, float] = {}
        self._frame = np.random.default_rng(1).integers(100, 200, (size, size)).astype(np.uint16)
        self._batch = batch
        file = raw / "scan-0001_orca.h5"
        self._file = h5py.File(file, "w", libver="latest")
        shape = (size, size)
        self._data = self._file.create_dataset("data", (0, *shape), "u2", maxshape=(None, *shape), chunks=(1, *shape))
        self._file.swmr_mode = True
        self._journal = Journal(raw / "scan-0001_documents.jsonl")
        start = {"uid": "u", "time": time.time(), "scan_id": 1, "data_root": str(root), "proposal": "p", "visit": "v"}
        self._journal.write("start", {**start, "folder": "day1", "plan_name": "count", "detectors": ["orca"]})
        keys = {"orca": {"shape": [1, *shape], "dtype_numpy": "<u2", "dtype": "array", "source": "x"}}
        self._journal.write("descriptor", {"uid": "d", "name": "primary", "data_keys": keys, "run_start": "u"})
        place = {"uri": f"file://localhost{file}", "parameters": {"dataset": "/data"}}
        self._journal.write("stream_resource", {"uid": "r", "data_key": "orca", **place})

    def write(self, number: int) -> None:
        self._frame[0, 0] = number % 65536
        self._data.resize(number + 1, axis=0)
        self._data[number] = self._frame
        self._data.flush()
        self.written[number] = time.time()
        if (number + 1) % self._batch == 0:
            rows = {"indices": {"start": number + 1 - self._batch, "stop": number + 1}}
            self._journal.write(
                "stream_datum", {"uid": f"s{number}", "descriptor": "d", "stream_resource": "r", **rows}
            )

    def at_rate(self, first: int, number: int, rate_hz: float) -> None:
        begun = time.perf_counter()
        for step in range(number):
            time.sleep(max(0.0, begun + step / rate_hz - time.perf_counter()))
            self.write(first + step)

    def close(self) -> None:
        self._journal.close()
        self._file.close()


def latency(browsers: int, seconds: float) -> None:
    """From the flush of a frame to the picture that a browser draws of it, at 50 Hz."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        root = Path(folder)
        writer = Writer(root, SIZE)
        writer.write(0)
        with page_of(root, folder) as (address, pid):
            pages = [opened(browser, address, "camera") for _ in range(browsers)]
            for page in pages:
                page.evaluate(SEEN)
            used, begun = processor_s(pid), time.perf_counter()
            thread = threading.Thread(target=writer.at_rate, args=(1, round(seconds * RATE_HZ), RATE_HZ))
            thread.start()
            while thread.is_alive():  # the driver of the browser must be heard meanwhile
                pages[0].wait_for_timeout(200)
            lasted = time.perf_counter() - begun
            share = (processor_s(pid) - used) / lasted
            late = [
                moment - writer.written[int(number)]
                for page in pages
                for number, moment in page.evaluate("window.seen")
                if 0 < int(number) in writer.written
            ]
            shown = len(late) / lasted / browsers
            median, worst = statistics.median(late), float(np.percentile(late, 95))
            print(
                f"{browsers:2d} browser(s): frame on disk to pixel {1e3 * median:.0f} ms median, {1e3 * worst:.0f} ms "
                f"95th; {shown:.1f} frames a second shown; the page takes {100 * share:.0f} % of a core, "
                f"{rss_mb(pid):.0f} MB; {load()}"
            )
        writer.close()


def memory(frames: int) -> None:
    """Memory of the page while the frames of an hour at 50 Hz pass, as fast as they can be written."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        root = Path(folder)
        writer = Writer(root, 64, batch=100)
        writer.write(0)
        with page_of(root, folder) as (address, pid):
            page = opened(browser, address, "camera")
            sizes = []
            for tenth in range(10):
                for number in range(max(1, tenth * frames // 10), (tenth + 1) * frames // 10):
                    writer.write(number)
                    if number % 500 == 0:
                        page.wait_for_timeout(1)
                page.wait_for_timeout(1000)
                sizes.append(rss_mb(pid))
            print(
                f"memory of the page over {frames} frames: {', '.join(f'{size:.0f}' for size in sizes)} MB at each "
                f"tenth; {load()}"
            )
        writer.close()


def scans(number: int) -> None:
    """The view *Scans* of a visit with many scans, with its scan log and without."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        root = Path(folder)
        raw = root / "p" / "v" / "raw" / "day1"
        raw.mkdir(parents=True)
        lines = []
        for scan in range(1, number + 1):
            start = {"uid": f"u{scan}", "time": 1.7e9 + 60 * scan, "scan_id": scan, "data_root": folder}
            start |= {"proposal": "p", "visit": "v", "folder": "day1", "plan_name": "count", "sample": {"name": "bone"}}
            stop = {"uid": f"x{scan}", "run_start": f"u{scan}", "time": 1.7e9 + 60 * scan + 9, "exit_status": "success"}
            documents: list[Any] = [("start", start), ("stop", stop)]
            text = "".join(f"{encoded(name, document)}\n" for name, document in documents)
            (raw / f"scan-{scan:04d}_documents.jsonl").write_text(text)
            lines.append(line_of(fold(documents)))
        for with_log in (True, False):
            log = root / "p" / "v" / "process" / "scan_log.csv"
            log.parent.mkdir(exist_ok=True)
            log.write_text(as_csv(lines)) if with_log else log.unlink()
            with page_of(root, folder) as (address, _):
                first = listed(browser, address, f"{number} scans", whole=with_log)
                again = listed(browser, address, f"{number} scans", whole=True)
            how = "with the scan log" if with_log else "from their journals alone, the first 20"
            print(f"{number} scans {how}: {first:.2f} s to the list, {again:.2f} s in the next browser; {load()}")


def listed(browser: Any, address: str, text: str, *, whole: bool) -> float:
    """Seconds from the opened page to the list of scans: to all of them, or to the first."""
    page = opened(browser, address, "now")
    page.get_by_text("scan ").first.wait_for(timeout=120_000)
    begun = time.perf_counter()
    page.get_by_text("Scans", exact=True).click()
    rows = page.locator("table.scans tr").nth(20)
    (page.get_by_text(text) if whole else rows).first.wait_for(timeout=300_000)
    rows.wait_for(timeout=300_000)
    lasted = time.perf_counter() - begun
    if not whole:
        page.get_by_text(text).first.wait_for(timeout=300_000)
    page.context.close()
    return lasted


def cost(rounds: int, frames: int) -> None:
    """Processor time of the RunEngine's process during a count, with the page looked at and without, in turns."""
    options = {"detectors.pilatus.width": 487, "detectors.pilatus.height": 407, "formats.integrate": True}
    options |= {"catalog.kind": "off", "live.port": 0}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        with make_session(load_settings(options={**options, "data_root": folder})) as session:
            used: dict[bool, list[float]] = {True: [], False: []}

            def count() -> float:
                begun = processor_of_this()
                session.RE(session.plans.azint_count(frames, 0.02))
                session.wait_for_files()
                return processor_of_this() - begun

            count()  # what is done once
            with page_of(Path(folder)) as (address, _):
                for _ in range(rounds):
                    for looked_at in (True, False):
                        page = opened(browser, address, "diffraction") if looked_at else None
                        used[looked_at].append(count())
                        if page is not None:
                            page.context.close()
            ratios = [with_page / without for with_page, without in zip(used[True], used[False], strict=True)]
            print(
                f"processor time of the session, {frames} frames: {statistics.median(used[False]):.2f} s without, "
                f"{statistics.median(used[True]):.2f} s with the page; ratios of {rounds} rounds "
                f"{', '.join(f'{ratio:.3f}' for ratio in ratios)}, median {statistics.median(ratios):.3f}; {load()}"
            )


def processor_of_this() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="cost, latency, browsers, memory, scans; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of it: to see that it works")
    arguments = parser.parse_args()
    share = 10 if arguments.quick else 1
    measures: dict[str, Callable[[], None]] = {
        "cost": lambda: cost(1 if arguments.quick else ROUNDS, 250 // share),
        "latency": lambda: latency(1, SECONDS / share),
        "browsers": lambda: latency(10, SECONDS / share),
        "memory": lambda: memory(HOUR_FRAMES // share),
        "scans": lambda: scans(SCANS // share),
    }
    with suppress(KeyboardInterrupt):
        for name in arguments.what or measures:
            measures[name]()


if __name__ == "__main__":
    main()
