"""Geometry, masks and azimuthal integration."""
