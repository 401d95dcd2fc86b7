"""The suite's command line.

Exit codes: 0 every check of level MUST and SHOULD passed; 1 one failed; 2 wrong usage; 6 there is no stream
server at the URL; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, TextIO

from durafold_server.conformance import report as reporting
from durafold_server.conformance.check import Check
from durafold_server.conformance.checks import TOPICS
from durafold_server.conformance.http import Unreachable
from durafold_server.conformance.report import Outcome, Result
from durafold_server.conformance.runner import (
    DEFAULT_CONCURRENCY,
    DEFAULT_PATIENCE_S,
    DEFAULT_TIMEOUT_S,
    UnknownSelection,
    run,
    select,
)

EXIT_CONFORMS: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 6
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None, *, prog: str = "durafold conformance") -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: without the program's name; default `sys.argv`.
        prog: how the user called it, for help.
    """
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    if not options.list and options.url is None:
        parser.error("the following arguments are required: URL")
    try:
        checks = select(options.section, options.check)
        if options.list:
            _list(checks, sys.stdout, as_json=options.json)
            return EXIT_CONFORMS
        return _check(options, checks, sys.stdout)
    except UnknownSelection as exc:
        return _fail(f"{exc}", EXIT_USAGE)
    except Unreachable as exc:
        return _fail(f"{exc}", EXIT_UNREACHABLE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Check a server of the Durable Streams protocol.",
        epilog="Exit codes: 0 all MUST and SHOULD pass, 1 one failed, 2 wrong usage, 6 no server there.",
    )
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        help="that all streams are below, like http://127.0.0.1:4437 (then /v1/stream)",
    )
    parser.add_argument(
        "--section", action="append", metavar="S", help="only a section (5.2) or a topic (append); repeatable"
    )
    parser.add_argument("--check", action="append", metavar="NAME", help="only one check; repeatable")
    parser.add_argument("--list", action="store_true", help="list the checks and run none")
    parser.add_argument("--json", action="store_true", help="write one line of JSON per check")
    parser.add_argument(
        "--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'",
        help="sent with every request; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--timeout-s", type=float, default=DEFAULT_TIMEOUT_S, help="seconds one check may take (%(default)s)"
    )
    parser.add_argument(
        "--patience-s", type=float, default=DEFAULT_PATIENCE_S,
        help="seconds to wait for a long-poll to time out (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--concurrency", type=int, default=DEFAULT_CONCURRENCY, help="checks at the same time (%(default)s)"
    )
    return parser


def _check(options: argparse.Namespace, checks: Sequence[Check], out: TextIO) -> int:
    if options.json:
        _write(out, reporting.json_line(reporting.opening(options.url, version("durafold"), checks)))

    def show(result: Result) -> None:
        if options.json:
            _write(out, reporting.json_line(result.to_json()))
        elif result.outcome is Outcome.FAILED:
            _write(out, reporting.failure_line(result))

    report = run(
        options.url,
        sections=options.section,
        names=options.check,
        headers=dict(options.header),
        timeout_s=options.timeout_s,
        patience_s=options.patience_s,
        concurrency=options.concurrency,
        on_result=show,
    )
    if options.json:
        _write(out, reporting.json_line(report.to_json()))
    else:
        _write(out, f"{reporting.table(report, TOPICS)}\n{reporting.verdict(report)}")
    return EXIT_CONFORMS if report.conforms else EXIT_FAILED


def _list(checks: Sequence[Check], out: TextIO, *, as_json: bool) -> None:
    for check in checks:
        if as_json:
            _write(out, reporting.json_line(reporting.describe(check)))
        else:
            _write(out, f"{check.section:<8} {check.level.value:<8} {check.name}")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"write it as 'Name: value', not {text!r}")
    return name.strip(), value.strip()


def _write(out: TextIO, line: str) -> None:
    try:
        out.write(f"{line}\n")
        out.flush()
    except BrokenPipeError:
        # Whoever read this has left, as `| head` does. The run goes on, for the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"durafold: {message}\n")
    return code
