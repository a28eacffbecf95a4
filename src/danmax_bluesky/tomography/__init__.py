"""The scan as a value, angles, and reconstruction."""
