"""The documentation is a site: built without a warning, with a page for everything, and it fetches nothing."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import danmax_bluesky
from danmax_bluesky.cli import COMMANDS
from danmax_bluesky.plans.user import plan_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built anew."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "trees")]
    done = subprocess.run(
        [*command, "docs", str(folder / "html")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_has_every_page(site):
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "README.md"]
    missing = [path for path in pages if not (site / path.relative_to(ROOT / "docs").with_suffix(".html")).exists()]
    assert not missing
    assert (site / "tutorials/first_steps.html").exists()


@pytest.mark.slow
def test_names_plans_commands_and_settings_have_their_places_on_the_site(site):
    generated = {path.stem: path.read_text(encoding="utf-8") for path in (site / "reference/generated").glob("*.html")}
    for name in danmax_bluesky.__all__:
        assert f'id="danmax_bluesky.{name}"' in generated["api"], name
        assert re.search(rf"<h2>{name}<", generated["api"]), name
    for name in plan_names():
        assert f'id="danmax_bluesky.Plans.{name}"' in generated["plans"]
    parameters = (site / "reference/tomoscan.html").read_text(encoding="utf-8")
    for parameter in danmax_bluesky.TomoScan.model_fields:
        assert f">{parameter}</span>" in parameters, parameter
    for name in COMMANDS:
        assert f"Usage: danmax {name}" in generated["commands"]
    assert "twin.seed" in generated["settings"]


@pytest.mark.slow
def test_the_site_fetches_nothing_from_the_network(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'(?:src|<link[^>]*href)="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        assert not fetched, page


def test_the_pictures_of_the_architecture_are_as_drawn():
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs/drawings.py")
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    for name, text in drawings.drawings().items():
        stored = (ROOT / "docs/images" / name).read_text(encoding="utf-8")
        assert stored == text, f"{name} is out of date: python docs/drawings.py"
    for room in (path.name for path in (ROOT / "src/danmax_bluesky").iterdir() if (path / "__init__.py").exists()):
        assert room == "testing" or f">{room}</text>" in (ROOT / "docs/images/rooms.svg").read_text(encoding="utf-8")
