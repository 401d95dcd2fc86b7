"""A black-box check of any server of the Durable Streams protocol, over HTTP.

It knows nothing of this package's own server. `run` is the whole interface; `python -m
durafold_server.conformance URL` and `durafold conformance URL` are its command line.
"""

from __future__ import annotations

from durafold_server.conformance.check import Check, Level
from durafold_server.conformance.http import Unreachable
from durafold_server.conformance.report import Outcome, Report, Result
from durafold_server.conformance.runner import UnknownSelection, arun, run, select

__all__ = [
    "Check",
    "Level",
    "Outcome",
    "Report",
    "Result",
    "UnknownSelection",
    "Unreachable",
    "arun",
    "run",
    "select",
]
