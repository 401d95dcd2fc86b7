"""Every scenario runs against real servers, and gives all its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from durafold_server.bench.client import Client, wait_until_up
from durafold_server.bench.errors import UsageError
from durafold_server.bench.runner import run_scenario
from durafold_server.bench.scenarios import ALL, choose
from durafold_server.bench.scenarios.base import Sample, Scenario, Space, unprepared
from durafold_server.bench.settings import Settings
from durafold_server.bench.targets import Target, parse_target

TINY: Final = Settings(
    rounds=1,
    warmup_s=0.02,
    measured_s=0.1,
    messages=1_200,
    idle_readers=50,
    stalled_bytes=3_000_000,
    recovery_messages=2_500,
)

# Only where a disk has a cache that is flushed.
NOT_EVERYWHERE: Final = {"disk_flushes"}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    """The servers that a run without arguments starts, by name."""
    directory = tmp_path_factory.mktemp("bench")
    ours = {name: parse_target(name, directory) for name in ("memory", "sqlite")}
    with ExitStack() as stack:
        for target in ours.values():
            assert target.process is not None
            stack.callback(target.process.stop)
            target.process.start()
            wait_until_up(target)
        yield ours


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_scenario_gives_all_its_numbers(scenario: Scenario, targets: dict[str, Target]) -> None:
    [outcome] = run_scenario(scenario, [targets["sqlite"]], TINY, lambda _: None)

    assert outcome.failed is None
    assert outcome.rounds.keys() | NOT_EVERYWHERE >= {metric.key for metric in scenario.metrics}
    assert len(outcome.generator_share) == 1


@pytest.mark.parametrize("name", [scenario.name for scenario in ALL if not scenario.durable_only])
def test_a_server_that_runs_is_measured_by_its_url(name: str, targets: dict[str, Target]) -> None:
    memory = targets["memory"]
    running = Target("running", memory.host, memory.port, memory.root, given_pid=memory.pid)

    [outcome] = run_scenario(choose([name])[0], [running], TINY, lambda _: None)

    assert outcome.failed is None
    assert outcome.rounds


def test_streams_are_deleted_at_the_end(targets: dict[str, Target]) -> None:
    paths: list[str] = []

    def measure(space: Space) -> Sample:
        with space.meter() as meter:
            paths.extend(space.create(2))
        return Sample({}, meter.cost)

    scenario = Scenario("some", "something", (), unprepared(measure))
    [outcome] = run_scenario(scenario, [targets["memory"]], TINY, lambda _: None)

    assert outcome.failed is None
    with Client(targets["memory"]) as client:
        client.ask("HEAD", paths[0], expected=(404,))
        client.ask("HEAD", paths[1], expected=(404,))


def test_scenarios_are_chosen_by_patterns_in_their_own_order() -> None:
    names = [scenario.name for scenario in choose(["restart", "append-*x1", "restart"])]

    assert names == ["append-1x1", "append-64x1", "restart"]


def test_without_a_pattern_all_scenarios_are_chosen() -> None:
    assert choose([]) == list(ALL)


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no scenario 'append'; there are: append-1x1, "):
        choose(["append-1x1", "append"])


def test_names_and_keys_are_unique() -> None:
    assert len({scenario.name for scenario in ALL}) == len(ALL)
    assert all(len({m.key for m in scenario.metrics}) == len(scenario.metrics) for scenario in ALL)
