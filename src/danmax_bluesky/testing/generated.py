"""Writes the files of the repository that are made from a description: `python -m danmax_bluesky.testing.generated`."""

from collections.abc import Mapping
from pathlib import Path

from danmax_bluesky.tomography.reference import scan_keywords, scan_page

ROOT = Path(__file__).parents[3]


def generated_files() -> Mapping[str, str]:
    """Path below the root of the repository -> what the file holds."""
    return {
        "docs/reference/tomoscan.md": scan_page(),
        "src/danmax_bluesky/tomography/scan_arguments.py": scan_keywords(),
    }


if __name__ == "__main__":
    for name, text in generated_files().items():
        (ROOT / name).write_text(text, encoding="utf-8")
