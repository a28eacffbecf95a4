"""What a run says of itself while it goes on."""

import io

from rich.console import Console

from danmax_bluesky.callbacks.progress import ProgressBars

START = {
    "uid": "1",
    "time": 0.0,
    "scan_id": 3,
    "plan_name": "tomo_scan",
    "sample": {"name": "[red]bone[/red] /tmp"},
    "segments": [{"name": "proj", "num": 5}],
}


def progress(terminal):
    out = io.StringIO()
    return ProgressBars(Console(file=out, force_terminal=terminal, width=40, color_system=None)), out


def test_the_name_of_a_sample_is_no_markup_and_is_not_cut():
    bars, out = progress(False)
    bars("start", START | {"sample": {"name": "[red]bone[/red] with a name that is longer than the screen"}})
    assert "[red]bone[/red] with a name that is longer than the screen\n" in out.getvalue()


def test_a_pause_leaves_the_screen_to_whoever_types():
    bars, _ = progress(True)
    bars("start", START)
    live = bars._progress.live
    assert live.is_started
    bars.heed("paused", "pausing")
    assert not live.is_started
    bars.heed("running", "paused")
    assert live.is_started
    bars("stop", {"uid": "2", "time": 1.0, "run_start": "1", "exit_status": "success"})
    assert not live.is_started
