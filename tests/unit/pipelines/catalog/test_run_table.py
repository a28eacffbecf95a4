import io
import itertools

import pytest
from rich.console import Console

from danmax_bluesky.formats.scan_log import LogLine
from danmax_bluesky.pipelines.catalog.run_table import table_of


@pytest.mark.parametrize("width", [72, 80, 120, 200])
def test_nothing_is_cut_off(width):
    line = LogLine(
        scan=12345,
        start_s=1.7e9,
        duration_s=100000.0,
        folder="a_rather_long_folder/with_parts",
        sample="a sample [with] brackets",
        command="tomoscan ascanct tom_ry -3600 0 7200 0.01 --flats 50",
        rows={"flat": 50, "proj": 7200},
        status="aborted",
        reason="it has no end; the program that measured it died",
    )
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table_of([line], "Title"))
    text = console.export_text()
    assert "…" not in text
    heading, _, *rows = [row for row in text.splitlines() if row.strip() and row.strip() != "Title"]
    starts = [0, *(heading.index(word) for word in ("started", "sample", "command", "result")), None]
    joined = ["".join("".join(row[a:b] for row in rows).split()) for a, b in itertools.pairwise(starts)]
    assert joined == [
        "12345",
        "2023-11-1422:1327:46:40",
        "asample[with]bracketsa_rather_long_folder/with_parts",
        "tomoscanascancttom_ry-3600072000.01--flats50flat50,proj7200",
        "abortedithasnoend;theprogramthatmeasureditdied",
    ]
