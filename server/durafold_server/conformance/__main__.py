"""`python -m durafold_server.conformance`."""

from __future__ import annotations

import sys

from durafold_server.conformance.cli import main

sys.exit(main(prog="python -m durafold_server.conformance"))
