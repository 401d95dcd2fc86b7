"""The command line: `durafold bench` and `python -m durafold_server.bench`."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from durafold_server.bench import report, results, runner
from durafold_server.bench.errors import BenchError, UsageError
from durafold_server.bench.results import Outcome, ScenarioInfo
from durafold_server.bench.scenarios import ALL, choose
from durafold_server.bench.settings import QUICK, Settings
from durafold_server.bench.targets import check_names, parse_target

_DEFAULT_SERVERS: Final = ("memory", "sqlite")
_WANTED_FILES: Final = 8192

_EPILOG: Final = """\
SERVER is one of
  memory, sqlite      this package's server with that store, started for the run
  NAME=URL            a server that runs; NAME=URL,pid=PID to see its CPU time and memory
  NAME='COMMAND'      a server to start; {port} stands for its port, {data} for its data directory

Servers that run get streams below durafold-bench/, deleted afterwards. Start them anew before you measure
memory: what a process has let go of is not seen to grow again.

`durafold bench --client` measures clients instead, and `durafold bench --state` shared state.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 1 if a scenario failed, 2 for wrong usage, 130 for Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # ended like Ctrl-C: no server is left behind
    try:
        return _carry_out(options)
    except UsageError as exc:
        _complain(exc)
        return 2
    except (BenchError, OSError) as exc:
        _complain(exc)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="durafold bench",
        description="Measure servers of the Durable Streams protocol side by side.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("servers", nargs="*", metavar="SERVER", help="what to measure (memory sqlite)")
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one; may be given again, and be a pattern like 'append-*'",
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios, and measure nothing")
    parser.add_argument("--rounds", type=_count, help=f"rounds on each server ({defaults.rounds})")
    parser.add_argument(
        "--seconds",
        type=_positive,
        help=f"seconds measured in each round ({defaults.measured_s:g})",
    )
    parser.add_argument(
        "--rate", type=_positive, help=f"requests per second of append-paced ({defaults.rate_per_s:g})"
    )
    parser.add_argument("--messages", type=_count, help=f"length of a long stream ({defaults.messages:,})")
    parser.add_argument(
        "--quick", action="store_true", help="only see that all runs: the numbers mean little"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="compare two such files"
    )
    parser.add_argument(
        "--directory", type=Path, help="for the data of servers to start (a temporary one; all is deleted)"
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _carry_out(options: argparse.Namespace) -> int:
    if options.list:
        width = max(len(scenario.name) for scenario in ALL)
        _print("".join(f"{scenario.name:<{width}}  {scenario.about}\n" for scenario in ALL))
        return 0
    if options.compare:
        for table in report.comparison_tables(*map(results.load, options.compare)):
            report.show(table, sys.stdout)
        return 0
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    scenarios, settings = choose(options.scenario), _settings(options)
    _raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="durafold-bench-", dir=options.directory) as name:
        directory = Path(name)
        targets = [parse_target(text, directory) for text in options.servers or _DEFAULT_SERVERS]
        check_names(targets)
        _print(", ".join(f"{name} {value:,}" for name, value in asdict(settings).items()) + "\n\n")
        found = runner.run(
            targets,
            scenarios,
            settings,
            directory=directory,
            progress=_show_progress,
            found=_show_outcomes,
        )
    if options.json:
        results.save(found, options.json)
    return 1 if any(outcome.failed for outcome in found.outcomes) else 0


def _settings(options: argparse.Namespace) -> Settings:
    given = {
        "rounds": options.rounds,
        "measured_s": options.seconds,
        "warmup_s": options.seconds and options.seconds / 2,
        "rate_per_s": options.rate,
        "messages": options.messages,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(QUICK if options.quick else Settings(), **chosen)


def _raise_file_limit() -> None:
    """A thousand readers are a thousand open files, here and in the servers that inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _show_progress(text: str) -> None:
    # On a terminal only, and on one line.
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _show_outcomes(scenario: ScenarioInfo, outcomes: Sequence[Outcome]) -> None:
    _show_progress("")
    report.show(report.scenario_table(scenario, outcomes), sys.stdout)
    sys.stdout.flush()


def _print(text: str) -> None:
    sys.stdout.write(text)


def _complain(text: object) -> None:
    _show_progress("")
    sys.stderr.write(f"durafold bench: {text}\n")
