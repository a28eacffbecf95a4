"""Tomography and diffraction at DanMAX, MAX IV: plans, devices and callbacks for Bluesky."""
