"""Writes the files of the repository that are made from a description: `python -m danmax_bluesky.testing.generated`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danmax_bluesky.cli.recipe_options import spelling
from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.options import options_of
from danmax_bluesky.tomography.reference import scan_keywords, scan_page
from danmax_bluesky.tomography.tori import ReconstructionSettings

ROOT = Path(__file__).parents[3]
_BEGIN, _END = "<!-- made from the description by `make generated` -->\n", "<!-- end -->\n"


def generated_files() -> Mapping[str, str]:
    """Path below the root of the repository -> what the file holds."""
    return {
        "docs/reference/tomoscan.md": scan_page(),
        "src/danmax_bluesky/tomography/scan_arguments.py": scan_keywords(),
        "docs/reference/azint.md": _with_table("docs/reference/azint.md", recipe_table()),
        "docs/how-to/reconstruct.md": _with_table("docs/how-to/reconstruct.md", reconstruction_table()),
    }


def recipe_table() -> str:
    """What a recipe may say, as a table of Markdown."""
    rows = [(f"`{o.name}`", spelling(o), _default(o.default), o.sentence) for o in options_of(RecipeSettings)]
    return _table(("key", "option", "default", "means"), rows)


def reconstruction_table() -> str:
    """What a settings file of a reconstruction may say, as a table of Markdown."""
    rows = [(f"`{o.name}`", _default(o.default), o.sentence) for o in options_of(ReconstructionSettings)]
    return _table(("key", "default", "means"), rows)


def _with_table(name: str, table: str) -> str:
    """A page in which the text between the marks is this table."""
    before, _, rest = (ROOT / name).read_text(encoding="utf-8").partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table}\n{_END}{rest.partition(_END)[2]}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _default(default: Any) -> str:
    if default in (None, "", ()):
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    return f"{default:g}" if isinstance(default, float) else f"`{default}`"


if __name__ == "__main__":
    for name, text in generated_files().items():
        (ROOT / name).write_text(text, encoding="utf-8")
