"""Beamlines, composed from devices: the simulated one and DanMAX."""
