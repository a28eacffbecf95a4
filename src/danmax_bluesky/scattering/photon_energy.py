"""What photon energy and wavelength have to do with each other."""

KEV_ANGSTROM = 12.398419843320026
"""Planck's constant times the speed of light, exact in the SI of 2019: energy in keV times wavelength in Å."""
