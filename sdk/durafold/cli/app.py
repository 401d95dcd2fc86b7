"""The command line as a whole. A command's module is loaded when that command is called, not before."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from durafold.cli.catalog import CATALOG, GROUPS, Entry, visible

__all__ = ["app", "load"]

_EPILOG: Final = "STREAM_URL and STREAM_AUTH name the server and the credentials of all commands."


def load(entry: Entry) -> Any:
    """The command of an entry, ready to be called; this imports its module."""
    module = import_module(f"durafold.cli.{entry.module}")
    function = getattr(module, entry.function)
    # Commands of the server have their own parser, which takes all arguments as they are.
    forwards: bool = getattr(function, "forwards_arguments", False)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(
        entry.name,
        hidden=entry.hidden,
        add_help_option=not forwards,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
        if forwards
        else {},
    )(function)
    command = typer.main.get_command(single)
    assert isinstance(command, TyperCommand)
    return command


class _LazyCommands(MutableMapping[str, Any]):
    """The commands by name; one is loaded when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load(CATALOG[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(CATALOG)

    def __len__(self) -> int:
        return len(CATALOG)


class _LazyGroup(TyperGroup):
    """The group of all commands, whose help and completion come from the catalog."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(CATALOG)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        for group in GROUPS:
            with formatter.section(group):
                formatter.write_dl([(entry.name, entry.summary) for entry in visible(group)])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        names = [entry for entry in visible() if entry.name.startswith(incomplete)]
        # Options come from the class above TyperGroup, which itself would load every command.
        options: list[Any] = super(TyperGroup, self).shell_complete(ctx, incomplete)
        return [*(_Completion(entry.name, entry.summary) for entry in names), *options]


@dataclass(frozen=True, slots=True)
class _Completion:
    """What click calls a completion item; typer brings a click of its own that cannot be imported by name."""

    value: str
    help: str
    type: str = "plain"


app = typer.Typer(
    name="durafold",
    cls=_LazyGroup,
    help="Durable, shared state for Python: streams, the state folded from them, and a server.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from durafold.cli.version import print_version

        print_version()
        raise typer.Exit


@app.callback()
def _durafold(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What comes before a command's name."""
