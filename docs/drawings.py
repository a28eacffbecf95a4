"""Draws the pictures of the architecture: boxes and arrows from tables, as SVG files in `docs/images`.

    python docs/drawings.py

The rooms are those of the layers in `pyproject.toml`; a test compares the files with what this draws.
"""

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = 18
STYLE = (
    "text{font:14px sans-serif;fill:#222}.small{font-size:12px;fill:#444}.head{font-weight:bold}"
    "rect{fill:#eef4fb;stroke:#4a6fa5;rx:6}.file{fill:#fdf3dc;stroke:#b08a2e}.outside{fill:#f1f1f1;stroke:#888}"
    "path{stroke:#555;fill:none;stroke-width:1.5;marker-end:url(#tip)}"
)
TIP = (
    '<marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
    '<polygon points="0 0 9 4 0 8" fill="#555"/></marker>'
)

Box = tuple[int, int, int, str, list[str], str]
"""x, y, width, title, lines of text, class."""
Arrow = tuple[int, int, int, int, str]
"""From x, y to x, y, and what goes along it."""

PROCESSES: tuple[list[Box], list[Arrow]] = (
    [
        (20, 30, 210, "session", ["danmax shell, danmax tomoscan:", "RunEngine, plans, callbacks"], ""),
        (20, 210, 210, "detector", ["its own computer, or a process", "of the twin"], "outside"),
        (330, 210, 210, "scan-0001_orca.h5", ["frames, as they are exposed"], "file"),
        (
            330,
            30,
            210,
            "scan-0001_documents.jsonl",
            ["the journal: every document,", "on disk before all else"],
            "file",
        ),
        (640, 210, 210, "integration worker", ["reads frames while they come,", "writes patterns"], ""),
        (640, 310, 210, "slice process", ["for a tomography that ended"], ""),
        (640, 30, 210, "catalogue's feeder", ["shared by the sessions of a", "data root; starts Tiled"], ""),
        (640, 120, 210, "Tiled server", ["on 127.0.0.1, or a remote one"], "outside"),
    ],
    [
        (125, 98, 125, 208, "arms, triggers"),
        (230, 245, 328, 245, "writes"),
        (230, 60, 328, 60, "writes"),
        (540, 235, 638, 235, "reads"),
        (540, 262, 638, 330, "reads"),
        (540, 60, 638, 60, "follows"),
        (745, 98, 745, 118, ""),
        (230, 85, 638, 215, "begins, by lines of JSON"),
    ],
)
FRAME: tuple[list[Box], list[Arrow]] = (
    [
        (20, 30, 190, "TomoScan", ["what is asked for,", "checked as a value"], ""),
        (250, 30, 190, "preflight", ["phases, moves, limits;", "refuses with every reason"], ""),
        (480, 30, 190, "plan", ["arms once; takes one", "segment after another"], ""),
        (710, 30, 190, "PandA", ["gates each exposure by", "position or time"], "outside"),
        (710, 150, 190, "camera, encoder", ["a frame, and the counts at", "its beginning and end"], "outside"),
        (480, 150, 190, "documents", ["a stream for each segment;", "the journal holds them all"], "file"),
        (250, 150, 190, "frame table", ["each frame with its trigger,", "angle, kind and flag"], ""),
        (20, 150, 190, "trees", ["NeXus master, NXtomo,", "DXchange, as values"], ""),
        (20, 270, 190, "files", ["written beside, then", "moved into their place"], "file"),
        (250, 270, 190, "slices, patterns", ["by processes of their own"], "file"),
        (480, 270, 190, "open_scan, silx, nabu, …", ["arrays, read when used"], "outside"),
    ],
    [
        (210, 60, 248, 60, ""),
        (440, 60, 478, 60, ""),
        (670, 60, 708, 60, ""),
        (805, 98, 805, 148, ""),
        (710, 180, 672, 180, ""),
        (480, 180, 442, 180, ""),
        (250, 180, 212, 180, ""),
        (115, 218, 115, 268, ""),
        (210, 300, 248, 300, ""),
        (440, 300, 478, 300, ""),
    ],
)
ROOMS = {
    "cli": "danmax: one module for each command",
    "shell": "a prompt: magics, live display, queue",
    "session": "everything wired in one place",
    "beamlines": "which devices a beamline has",
    "plans": "what moves and exposes",
    "callbacks": "what follows from documents",
    "live": "the page in the browser",
    "devices": "ophyd-async devices",
    "pipelines": "heavy work on frames",
    "twin": "simulated hardware",
    "storage": "the room that reads and writes files",
    "formats": "what files look like, as values",
    "runs": "what a run is: one table of its frames",
    "scattering": "geometry, integration",
    "tomography": "scans, angles, slices",
    "config": "settings",
    "array_types": "kinds of arrays in signatures",
    "atomic_files": "whole files or none",
    "compiled": "functions that numba compiles",
    "parsing": "texts of others",
    "reprs": "how values look",
    "screen": "where words go",
    "errors": "what can go wrong",
}


def svg(width: int, height: int, boxes: list[Box], arrows: list[Arrow]) -> str:
    """A drawing."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style><defs>{TIP}</defs>",
        f'<rect width="{width}" height="{height}" style="fill:white;stroke:none"/>',
    ]
    for x1, y1, x2, y2, label in arrows:
        parts.append(f'<path d="M{x1} {y1} L{x2} {y2}"/>')
        if label:
            left = (x1 + x2) // 2 + (6 if x1 == x2 else -14)
            parts.append(f'<text class="small" x="{left}" y="{(y1 + y2) // 2 - 5}">{escape(label)}</text>')
    for x, y, wide, title, lines, kind in boxes:
        tall = 14 + LINE * (1 + len(lines))
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{wide}" height="{tall}"/>')
        size = min(14, int(1.6 * (wide - 16) / max(1, len(title))))
        parts.append(f'<text class="head" style="font-size:{size}px" x="{x + 10}" y="{y + 20}">{escape(title)}</text>')
        for number, line in enumerate(lines, 1):
            parts.append(f'<text class="small" x="{x + 10}" y="{y + 20 + LINE * number}">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def layers() -> list[list[str]]:
    """The rooms, from the top down; those of one line do not know each other."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = package["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in row.split("|")] for row in rows]


def rooms() -> str:
    """The rooms above each other: each may import those below."""
    boxes: list[Box] = []
    y = 20
    for row in layers():
        wide = (860 - 20 * (len(row) - 1)) // len(row)
        boxes += [(20 + i * (wide + 20), y, wide, name, [ROOMS.get(name, "")], "") for i, name in enumerate(row)]
        y += 62
    return svg(900, y, boxes, [])


def drawings() -> dict[str, str]:
    """File name -> what stands in it."""
    return {
        "processes.svg": svg(880, 390, *PROCESSES),
        "frame.svg": svg(920, 340, *FRAME),
        "rooms.svg": rooms(),
    }


if __name__ == "__main__":
    for name, text in drawings().items():
        (ROOT / "docs/images" / name).write_text(text, encoding="utf-8")
