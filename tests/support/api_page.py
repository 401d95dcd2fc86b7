"""The page docs/reference/api.md: every public name, in the order of the modules that are imported from.

mkdocstrings fills it in from signatures and docstrings when the site is built. To make it anew:

    PYTHONPATH=tests .venv/bin/python -m support.api_page > docs/reference/api.md
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import durafold
from durafold.blocking.mirror import blocking_words

__all__ = ["FAMILIES", "api_page", "names_of"]

SECTIONS: Final = {
    "Providers and handles": (
        "durafold.provider",
        "durafold.engine",
        "durafold.state.replica",
    ),
    "Hooks": ("durafold.hooks",),
    "Atoms and derived values": ("durafold.atoms", "durafold.computed"),
    "Reducers": (
        "durafold.state.reducer",
        "durafold.state.combine",
        "durafold.state.context",
        "durafold.state.outcomes",
    ),
    "Time travel": ("durafold.state.history",),
    "Loading, hydration, caches and snapshots": (
        "durafold.hydrate",
        "durafold.cache",
        "durafold.snapshots",
    ),
    "Presence": ("durafold.presence",),
}
"""Where the names of `durafold` stand, by the module that they come from."""

FAMILIES: Final = {
    "durafold.client": "The stream client",
    "durafold.blocking": "Code without `async`",
    "durafold.state_protocol": "Rows of State Protocol streams",
    "durafold.reflex": "Reflex",
    "durafold.testing": "Testing",
    "durafold.errors": "Errors",
    "durafold_server": "The server",
}
"""The other modules that programs import from, with their titles."""

REMARKS: Final = {
    "durafold.blocking": """\
Classes have the methods, arguments and errors of those with the same names elsewhere on this page, without
`async` and `await`. They are listed here, each with a link to where its arguments and errors are described;
what differs is described here.

""",
}
"""What to know before the names of a section."""

INTRODUCTION: Final = """\
# API

Everything that programs import, made from signatures and docstrings. Where an example says `party`, it is
an open `Provider`, and `url` the address of its server; examples may `await`, as in `python -m asyncio`.

<!-- Made by `PYTHONPATH=tests python -m support.api_page > docs/reference/api.md`. Edit docstrings. -->
"""


def names_of(module: str) -> list[str]:
    """What a module exports."""
    return sorted(import_module(module).__all__)


def api_page() -> str:
    """The page's text."""
    sections = [_section(title, "", names) for title, names in _names_of_durafold().items()]
    sections += [_section(title, module, _family(module)) for module, title in FAMILIES.items()]
    return "\n".join([INTRODUCTION, *sections])


def _names_of_durafold() -> dict[str, list[str]]:
    """The names of `durafold` by section; errors stand in their own module's."""
    homes = {home: sorted(names) for home, names in vars(durafold)["_HOMES"].items()}
    elsewhere = {"durafold.client", "durafold.errors"}
    placed = {home for section in SECTIONS.values() for home in section} | elsewhere
    named = {
        title: [f"durafold.{name}" for home in section for name in homes.get(home, [])]
        for title, section in SECTIONS.items()
    }
    rest = [f"durafold.{name}" for home in homes if home not in placed for name in homes[home]]
    return named | ({"More": rest} if rest else {})


def _family(module: str) -> list[str]:
    """The names of one of the other modules, without those that stand in another one's section already."""
    names = [name for name in names_of(module) if not _is_from_another_section(module, name)]
    return [f"{module}.{name}" for name in names]


def _is_from_another_section(module: str, name: str) -> bool:
    found = getattr(import_module(module), name)
    home = getattr(found, "__module__", module) if inspect.isclass(found) else module
    is_shared = found is getattr(durafold, name, None) or not home.startswith(module)
    return module == "durafold.blocking" and is_shared


def _section(title: str, module: str, names: list[str]) -> str:
    origin = f"From `{module}`.\n\n" if module else ""
    entries = [f"::: {name}\n\n{_taken_over(module, name)}" for name in names]
    return f"## {title}\n\n{origin}{REMARKS.get(module, '')}" + "".join(entries)


def _taken_over(module: str, name: str) -> str:
    """A list of what a blocking class takes from its asynchronous one, which mkdocstrings does not see."""
    face = getattr(import_module(module), name.rpartition(".")[2]) if module == "durafold.blocking" else None
    bases = inspect.getmro(face) if inspect.isclass(face) else ()
    twin = next(filter(None, (_twin(one.__name__) for one in bases)), None)
    if twin is None:
        return ""
    found = list(_members_taken_over(face, *twin))
    return f"As [`{twin[0]}`][{twin[0]}] has them:\n\n" + "\n".join(found) + "\n\n" if found else ""


def _twin(name: str) -> tuple[str, type] | None:
    """Where the asynchronous class of this name is described, and the class; None if it is not."""
    for module in ("durafold.client", "durafold.state_protocol", "durafold"):
        if name in names_of(module):
            return f"{module}.{name}", getattr(import_module(module), name)
    return None


def _members_taken_over(face: Any, origin: str, twin: type) -> Iterator[str]:
    for name in dir(face):
        text = getattr(face, name).__doc__
        original = getattr(twin, name, None)
        if name.startswith("_") or not text or text != blocking_words(getattr(original, "__doc__", None)):
            continue
        yield f"- [`{name}{_arguments(getattr(face, name))}`][{origin}.{name}]: {_summary(text)}"


def _arguments(member: Any) -> str:
    """Names and defaults of a method's arguments; nothing for a property."""
    if not callable(member):
        return ""
    _, *parameters = inspect.signature(member).parameters.values()
    return str(inspect.Signature([one.replace(annotation=one.empty) for one in parameters]))


def _summary(text: str) -> str:
    """The first sentence."""
    sentence = " ".join(inspect.cleandoc(text).partition("\n\n")[0].split()).partition(". ")[0]
    return sentence.removesuffix(".") + "."


if __name__ == "__main__":
    print(api_page().rstrip())
