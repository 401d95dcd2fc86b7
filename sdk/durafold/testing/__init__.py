"""Helpers for testing code that shares state: a real stream server that a test starts, kills and restarts."""

from durafold.testing.server import ServerProcess

__all__ = ["ServerProcess"]
