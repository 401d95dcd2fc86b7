"""Which stream is bound to which reducer, and what is wrong with how that was written."""

from __future__ import annotations

import pytest

from durafold.state.models import model_of
from durafold.state.reducer import actions_of
from durafold.state.snapshot import fingerprint
from durafold_server.reducers.bindings import Bindings, load_bindings
from durafold_server.reducers.registered import UnknownReducer, load_reducers
from support.stock import Stock, stock


def bound(bindings: Bindings, path: str) -> str | None:
    reducer = bindings.of(path)
    return reducer.name if reducer is not None else None


def test_without_bindings_nothing_is_bound() -> None:
    bindings = load_bindings([])

    assert not bindings
    assert bindings.of("stock/apples") is None


def test_a_pattern_binds_the_paths_that_it_matches() -> None:
    bindings = load_bindings(["stock/*=support.stock:stock"])

    assert bound(bindings, "stock/apples") == "support.stock:stock"
    assert bound(bindings, "stock") is None
    assert bound(bindings, "stock/apples/red") is None


def test_the_first_pattern_that_matches_counts() -> None:
    bindings = load_bindings(["stock/old=support.stock:stock_2", "stock/*=support.stock:stock"])

    assert bound(bindings, "stock/old") == "support.stock:stock_2"
    assert bound(bindings, "stock/new") == "support.stock:stock"


def test_a_module_of_reducers_may_say_itself_what_is_bound() -> None:
    bindings = load_bindings([], ["support.stock"])

    assert bound(bindings, "stock/a/b") == "support.stock:stock"
    assert bound(bindings, "shops/opening") == "support.stock:opening"


def test_a_module_may_bind_atoms_of_plain_functions_and_nothing_else() -> None:
    assert load_reducers(["support.unruly"]) == {}
    assert bound(load_bindings([], ["support.unruly"]), "odd/a") == "support.unruly:unruly"


def test_settings_count_before_modules() -> None:
    bindings = load_bindings(["stock/a=support.stock:stock_2"], ["support.stock:stock"])

    assert bound(bindings, "stock/a") == "support.stock:stock_2"
    assert bound(bindings, "stock/b") == "support.stock:stock"


def test_a_module_without_bindings_binds_nothing() -> None:
    assert not load_bindings([], ["support.todos"])


@pytest.mark.parametrize(
    "path", ["stock/a/__snapshot__/0123/a", "stock/__presence__", "stock/a/__anything__/b"]
)
def test_what_is_kept_beside_a_stream_is_not_bound(path: str) -> None:
    assert load_bindings(["**=support.stock:stock"]).of(path) is None


def test_an_atom_says_what_its_state_begins_with() -> None:
    reducer = load_bindings(["shops/opening=support.stock:opening"]).of("shops/opening")

    assert reducer is not None
    assert reducer.initial == Stock(count=100)


def test_a_bound_reducer_has_the_fingerprint_that_the_sdk_gives_it() -> None:
    reducer = load_bindings(["stock/*=support.stock:stock"]).of("stock/a")

    assert reducer is not None
    assert reducer.fingerprint == fingerprint(stock, actions_of(stock), model_of(Stock()), Stock())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("stock/*", "write PATTERN=module:name"),
        ("stock/*=support.stock", "write PATTERN=module:name"),
        ("=support.stock:stock", "write PATTERN=module:name"),
        ("stock/*=support.stock:nothing", "has no 'nothing'"),
        ("stock/*=support.nowhere:stock", "There is no module"),
        ("stock/*=support.stock:not_a_reducer", "is neither a function"),
        ("stock/*=support.cli_reducers:impossible", "impossible tells no state before the first"),
        ("stock/*=support.cli_reducers:letters", "letters tells no state before the first"),
        ("st*ck=support.stock:stock", "is no pattern"),
        ("__ds/x=support.stock:stock", "is no pattern"),
    ],
)
def test_a_binding_that_cannot_work_is_refused_with_what_to_do(spec: str, says: str) -> None:
    with pytest.raises(UnknownReducer, match=says):
        load_bindings([spec])


def test_a_stream_has_one_reducer() -> None:
    with pytest.raises(UnknownReducer, match="a stream has one reducer"):
        load_bindings(["stock/*=support.stock:stock", "stock/*=support.stock:stock_2"])


def test_what_a_module_calls_its_bindings_must_be_a_mapping() -> None:
    with pytest.raises(UnknownReducer, match="must be a mapping"):
        load_bindings([], ["support.wrong_bindings"])
