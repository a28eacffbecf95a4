"""Devices of the beamline's own control system."""
