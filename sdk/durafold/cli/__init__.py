"""The `durafold` command. The entry point imports this module: it stays small, so that help comes at once.

`catalog` names the commands, `app` finds the one that is called, and each has a module of its own. What they
share: `session` (options of all that talk to a server), `output`, `failures` and `exits` (errors and exit
codes), and the pure helpers `address`, `messages`, `formatting`, `diffing`, `state_protocol`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from durafold.errors import DurafoldError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: without the program's name; default `sys.argv`.

    Returns:
        The exit code; see `durafold.cli.exits`.
    """
    _open_what_is_closed()
    try:
        from durafold.cli.app import app
    except ModuleNotFoundError as exc:
        if exc.name not in ("typer", "rich"):
            raise
        print('The command line needs an extra: pip install "durafold[cli,server]"', file=sys.stderr)
        return 1
    try:
        app(arguments, prog_name="durafold")
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except DurafoldError as exc:
        from durafold.cli.failures import report

        return report(exc, as_json="--json" in (arguments or sys.argv))
    except KeyboardInterrupt:
        return 130
    return 0


def _open_what_is_closed() -> None:
    """Whoever started this may have closed its outputs: what is printed then goes nowhere.

    Left closed, errors would be printed to standard output, and files opened later would take the places.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
