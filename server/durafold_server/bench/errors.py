"""What can go wrong while measuring."""

from __future__ import annotations


class BenchError(Exception):
    """A server cannot be measured, or did not do what it said; the message names it and the reason."""


class UsageError(BenchError):
    """The command line asks for something that does not exist; the message names what does."""
