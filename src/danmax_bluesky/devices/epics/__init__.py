"""Devices of EPICS, for beamlines that have it: motor records, areaDetector cameras, and our devices by their PVs."""
