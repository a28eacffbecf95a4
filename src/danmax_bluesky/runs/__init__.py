"""A run as one value: its documents folded, and one table of frames for each of its detectors."""
