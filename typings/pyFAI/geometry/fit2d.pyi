from collections.abc import Mapping

from pyFAI.io.ponifile import PoniFile

def convert_from_Fit2d(f2d: Mapping[str, float]) -> PoniFile: ...
