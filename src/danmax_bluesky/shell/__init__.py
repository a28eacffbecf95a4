"""A session at a prompt: what stands in its namespace, what it says of itself, and the words that users type."""

from danmax_bluesky.shell.start import banner, install, namespace

__all__ = ["banner", "install", "namespace"]
