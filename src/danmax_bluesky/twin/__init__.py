"""The simulated beamline: motion, a PandA and cameras, driven by signals alone."""
