"""The public face: few names, imported when they are used, and all that notebooks and pages need."""

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import danmax_bluesky

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/public-names.md").read_text(encoding="utf-8")
TAUGHT = sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"])


def python_of(path):
    """The Python code that a notebook or a page shows, cell by cell."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def imports_of(code):
    """(module, name) of everything that a piece of code imports of this package."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("danmax_bluesky"):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("danmax_bluesky"))


@pytest.mark.parametrize("name", danmax_bluesky.__all__)
def test_a_public_name_is_documented_with_its_types(name):
    value = getattr(danmax_bluesky, name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values())
        assert signature.return_annotation is not signature.empty
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", row.split("|")[3]), f"no example in: {row}"


def test_the_page_lists_what_is_public_and_nothing_else():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == sorted(danmax_bluesky.__all__, key=str.lower)
    assert set(danmax_bluesky.__all__) == set(dir(danmax_bluesky)) == set(danmax_bluesky._HOMES)


def test_a_name_that_is_not_public_is_refused_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'open_scans'; it has .*open_scan,"):
        _ = danmax_bluesky.open_scans


def test_the_package_is_imported_without_its_libraries():
    code = "import sys; before = set(sys.modules); import danmax_bluesky; print(*(set(sys.modules) - before))"
    command = [sys.executable, "-c", code]
    source = {"PYTHONPATH": str(ROOT / "src")}
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=source).stdout.split()
    ours = {"danmax_bluesky"} | {name for name in loaded if name in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in loaded} <= {name.split(".")[0] for name in ours}


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_taught_uses_public_names_alone(path):
    for code in python_of(path):
        for module, name in imports_of(code):
            assert module == "danmax_bluesky", f"from {module} import {name}"
            assert name in danmax_bluesky.__all__, name
