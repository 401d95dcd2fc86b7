"""The examples in docstrings, run as they are printed, as in `python -m asyncio`: they may await.

They find what their module holds, what `durafold` exports, an open provider as `party`, and the address of
its server as `url`.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import pkgutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final
from uuid import uuid4

import pytest

import durafold
import durafold_server
from durafold import Provider
from durafold.testing import ServerProcess

OPTIONS: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

WITH_EXAMPLES: Final = {
    "durafold": [
        "Context",
        "HydrationBoundary",
        "HydrationPayload",
        "MemoryStateCache",
        "Middleware",
        "Presence",
        "Provider",
        "Provider.connection",
        "Provider.fork",
        "Provider.presence",
        "Provider.server_reducer",
        "Provider.server_state",
        "Reject",
        "ServerReducer",
        "ServerState",
        "ServerState.at",
        "ServerState.history",
        "ServerState.undo",
        "ServerState.undo_group",
        "ServerState.wait_for",
        "SnapshotPolicy",
        "SqliteStateCache",
        "StreamSpec",
        "atom",
        "atom_family",
        "batch",
        "combine_reducers",
        "derived",
        "load_stream_with_reducer",
        "load_streams",
        "reducer",
        "reducer_atom",
        "replay",
        "select",
        "set_state_reducer",
        "use_atom",
        "use_connection",
        "use_provider",
        "use_server_reducer",
        "use_server_state",
        "use_value",
    ],
    "durafold.testing": [
        "FakeClock",
        "LocalServer",
        "assert_converged",
        "check_reducer",
        "settle",
    ],
}
"""What users look up by its name: primitives, hydration, caches, undo, presence, testing."""


def modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__") and ".reflex" not in found.name:
            yield import_module(found.name)


def found_examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    packages = (durafold, durafold_server)
    tests = [test for package in packages for module in modules(package) for test in finder.find(module)]
    return [test for test in tests if test.examples]


async def run(example: doctest.Example, names: dict[str, Any]) -> str:
    """What one example prints: its output, or the last line of the error that it raises."""
    code = compile(example.source, "<example>", "single", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with redirect_stdout(StringIO()) as printed:
        try:
            outcome = FunctionType(code, names)()
            if inspect.iscoroutine(outcome):
                await outcome
        except Exception as error:
            return f"{type(error).__name__}: {error}\n"
    return printed.getvalue()


def is_as_printed(example: doctest.Example, printed: str) -> bool:

    wanted = example.exc_msg or example.want
    return doctest.OutputChecker().check_output(wanted, printed, OPTIONS)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("test", found_examples(), ids=lambda test: test.name)
async def test_the_examples_give_what_they_say(
    test: doctest.DocTest,
    server: ServerProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anyio_backend: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"{server.url}/{uuid4().hex}"
    async with Provider(url, client_id="ann") as party:
        exported = {name: getattr(durafold, name) for name in durafold.__all__}
        names = {**exported, **test.globs, "party": party, "url": url}

        printed = [(example, await run(example, names)) for example in test.examples]

    assert [
        (example.source, example.want, text) for example, text in printed if not is_as_printed(example, text)
    ] == []


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in WITH_EXAMPLES.items() for name in names]
)
def test_what_users_look_up_by_name_shows_an_example(module: str, name: str) -> None:
    found: Any = import_module(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None) or getattr(found, part)

    assert ">>> " in (inspect.getdoc(found) or "")
