"""Of pyFAI, which has few annotations, what this package uses."""

from pyFAI.integrator.azimuthal import AzimuthalIntegrator

version: str

def load(filename: str) -> AzimuthalIntegrator: ...
