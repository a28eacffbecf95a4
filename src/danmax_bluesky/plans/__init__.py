"""Bluesky plans: stubs of one verb each, and the scans that chain them."""
