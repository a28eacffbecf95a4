"""ophyd-async devices, the paths they write to, and the beamline they make up."""
