"""Rounds: interleaved over the servers, and one server's failure is its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from durafold_server.bench.errors import BenchError
from durafold_server.bench.measure import Cost
from durafold_server.bench.runner import run_scenario
from durafold_server.bench.scenarios.base import Metric, Sample, Scenario, Space, unprepared
from durafold_server.bench.settings import Settings
from durafold_server.bench.targets import Target

ONE: Final = Target("one", "127.0.0.1", 1)
TWO: Final = Target("two", "127.0.0.1", 1)
ROUNDS: Final = Settings(rounds=3)
METRIC: Final = Metric("speed", "speed", "1/s")


def cost(generator_s: float = 0.5) -> Cost:
    """What a second took."""
    return Cost(1.0, generator_s, 0.0, server_cpu_s=0.2, machine_cpu_s=None, flushes=None)


def scenario_of(measure: Callable[[Space], Sample]) -> Scenario:
    return Scenario("some", "something", (METRIC,), unprepared(measure))


def ignore(_: str) -> None:
    """Nobody looks at the progress."""


def test_servers_take_turns_in_every_round() -> None:
    order: list[str] = []

    def measure(space: Space) -> Sample:
        order.append(space.target.name)
        return Sample({}, cost())

    run_scenario(scenario_of(measure), [ONE, TWO], ROUNDS, ignore)

    assert order == ["one", "two"] * 3


def test_every_round_is_kept() -> None:
    values = iter([3.0, 1.0, 2.0])

    [outcome] = run_scenario(
        scenario_of(lambda _: Sample({"speed": next(values)}, cost())), [ONE], ROUNDS, ignore
    )

    assert outcome.rounds == {"speed": [3.0, 1.0, 2.0]}
    assert outcome.generator_share == [0.5, 0.5, 0.5]


def test_what_is_not_known_of_a_server_is_left_out() -> None:
    [outcome] = run_scenario(scenario_of(lambda _: Sample({"speed": None}, cost())), [ONE], ROUNDS, ignore)

    assert outcome.rounds == {}
    assert outcome.failed is None


def test_a_server_that_fails_is_left_alone_and_the_others_are_measured() -> None:
    def measure(space: Space) -> Sample:
        if space.target is ONE:
            raise BenchError("it lost a message")
        return Sample({"speed": 1.0}, cost())

    first, second = run_scenario(scenario_of(measure), [ONE, TWO], ROUNDS, ignore)

    assert (first.failed, first.rounds) == ("it lost a message", {})
    assert (second.failed, second.rounds) == (None, {"speed": [1.0, 1.0, 1.0]})


def test_a_server_that_cannot_be_measured_is_skipped_with_the_reason() -> None:
    scenario = Scenario("some", "something", (METRIC,), unprepared(_never), durable_only=True)

    [outcome] = run_scenario(scenario, [ONE], ROUNDS, ignore)

    assert outcome.skipped == "only for servers that this program starts"
    assert outcome.failed is None


def test_a_scenario_that_looks_at_memory_needs_to_know_the_process() -> None:
    scenario = Scenario("some", "something", (METRIC,), unprepared(_never), needs_process=True)

    assert scenario.obstacle(ONE) == "its process is not known: add ,pid=PID to its URL"
    assert scenario.obstacle(Target("three", "127.0.0.1", 1, given_pid=1)) is None


def test_a_generator_at_its_limit_is_noticed() -> None:
    [busy] = run_scenario(scenario_of(lambda _: Sample({}, cost(0.81))), [ONE], ROUNDS, ignore)
    [idle] = run_scenario(scenario_of(lambda _: Sample({}, cost(0.79))), [ONE], ROUNDS, ignore)

    assert busy.generator_bound
    assert not idle.generator_bound


def _never(_: Space) -> Sample:
    raise AssertionError("this server must not be measured")
