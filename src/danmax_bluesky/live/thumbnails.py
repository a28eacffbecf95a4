"""Small pictures of scans, of which the browser needs no further file."""

import base64
import io
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from danmax_bluesky.live.scans import Scans, is_inside

THUMBNAIL_PX = (220, 84)
"""Largest width and height."""
MOST_THUMBNAILS = 400


class Thumbnails:
    """Small pictures of contact sheets, as addresses that hold the picture itself; each is made once.

    Args:
        scans: whose roots tell which files may be read.
    """

    def __init__(self, scans: Scans) -> None:
        self._scans = scans
        self._made: OrderedDict[tuple[Path, int], str] = OrderedDict()

    def of(self, sheet: Path) -> str:
        """The picture of a contact sheet, "" where there is none, or it cannot be read."""
        try:
            key = (sheet, sheet.stat().st_mtime_ns)
            if key not in self._made:
                if not is_inside(sheet, self._scans.roots):
                    return ""
                with Image.open(sheet, formats=("PNG",)) as picture:
                    small = picture.convert("RGB")
                    small.thumbnail(THUMBNAIL_PX)
                stream = io.BytesIO()
                small.save(stream, "JPEG", quality=80)
                self._made[key] = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
                while len(self._made) > MOST_THUMBNAILS:
                    self._made.popitem(last=False)
            return self._made[key]
        except (OSError, ValueError, Image.DecompressionBombError):
            return ""
