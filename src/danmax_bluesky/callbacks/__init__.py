"""Consumers of documents: each writes one kind of file, or feeds one service."""
