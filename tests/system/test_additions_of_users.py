"""A stranger's test: from the pages alone, a plan, a callback and a recipe that this package does not have."""

import re
from pathlib import Path

import numpy as np
import pytest

from danmax_bluesky import open_scan

PAGES = Path(__file__).parents[2] / "docs/how-to"
MOST_LINES = 40


def code_of(page):
    """The one piece of Python on a page; it is short, and changes nothing in the package."""
    (code,) = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= MOST_LINES
    return compile(code, page, "exec")


def test_a_plan_of_ones_own_measures_at_each_position_and_goes_back(sessions):
    session = sessions()
    starts = []
    session.RE.subscribe(lambda _name, doc: starts.append(doc), "start")
    exec(code_of("add-a-plan.md"), {"session": session, "RE": session.RE})
    assert [start["sample"]["name"] for start in starts] == ["at -0.5", "at 0.5"]
    for start, position in zip(starts, (-0.5, 0.5), strict=True):
        scan = open_scan(session.paths.visit.raw / f"scan-{start['scan_id']:04d}.h5")
        assert len(scan.frames) == 2
        np.testing.assert_allclose(scan.snapshots["start"]["tom_sam_x"], position, atol=1e-3)
    session.RE(session.plans.azint_count(1, 0.01))
    np.testing.assert_allclose(session.last_scan().snapshots["start"]["tom_sam_x"], 0, atol=1e-3)


def test_a_callback_of_ones_own_hears_of_every_run(sessions):
    session = sessions()
    exec(code_of("add-a-callback.md"), {"session": session, "RE": session.RE})
    session.RE(session.plans.azint_count(2, 0.01))
    session.RE(session.plans.azint_count(1, 0.02, sample="bone"))
    lines = (session.paths.visit.process / "runs.txt").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"\d\d:\d\d|[\d.]+ s$", "-", line) for line in lines] == [
        "0001 - azint_count(2, 0.01) success -",
        "0002 - azint_count(1, 0.02) success -",
    ]


def test_a_recipe_of_ones_own_is_integrated_live_and_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DANMAX_DETECTORS__PILATUS__WIDTH", "487")
    monkeypatch.setenv("DANMAX_DETECTORS__PILATUS__HEIGHT", "407")
    names = {}
    exec(code_of("add-a-recipe.md"), names)
    assert names["fine"].intensity.shape == (2, 4000)
    assert names["cake"].intensity.shape == (2, 36, 500)
    narrow = names["scan"].patterns(recipe="narrow")
    assert (narrow.radial_edges[0], narrow.radial_edges[-1]) == pytest.approx((6, 13))
    assert names["report"].frames == 2
    assert list(names["report"].problems) == []
