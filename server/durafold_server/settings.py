"""Where the value of each setting comes from: flag, then environment, then file, then default.

One table, `SETTINGS`, is made from the fields of `config.py`. Flags, names of environment variables, keys of
the file, `config show` and the reference page all come from it. Nothing here knows what a setting is for.
"""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast, get_type_hints

from durafold_server.access import InvalidToken, Token, parse_tokens
from durafold_server.config import ConnectionLimits, ServeSettings, ServiceSettings

ENV_PREFIX: Final = "DURAFOLD_"
CONFIG_VARIABLE: Final = "DURAFOLD_CONFIG"
FILE_NAME: Final = "durafold.toml"

Kind: TypeAlias = Literal["whole number", "number", "switch", "text", "path", "texts", "tokens"]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class InvalidSetting(ValueError):
    """A value cannot be used; the message says which, where it comes from, and what it must be."""


class _Unfit(ValueError):
    """A value is none for its setting; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes:
        name: for users, the key in the file.
        group: the settings class that has the field.
        field: the field's name there.
        kind: what values look like.
        default: used where nobody says anything.
        help: one line, without a full stop.
        choices: all allowed values, if only some are.
        least: smallest allowed number; None: greater than 0.
        most: greatest allowed number, if there is one.
        each: name of the flag that gives one of several values, if `kind` is a plural.
    """

    name: str
    group: type
    field: str
    kind: Kind
    default: object
    help: str
    choices: tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None
    each: str = ""

    @property
    def flag(self) -> str:
        """On the command line; for a switch the positive form."""
        return f"--{self.each or self.name.replace('_', '-')}"

    @property
    def usual_flag(self) -> str:
        """The form of the flag that changes the default."""
        return f"--no-{self.flag[2:]}" if self.default is True else self.flag

    @property
    def env(self) -> str:
        """The environment variable."""
        return ENV_PREFIX + self.name.upper()

    @property
    def shown_default(self) -> str:
        """For help and reference."""
        if self.default is None or self.default == ():
            return "none"
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)

    @property
    def is_secret(self) -> bool:
        """Whether its values must not be shown."""
        return self.kind == "tokens"

    def parse(self, raw: object) -> object:
        """A value from text (flag, environment) or from a file's or caller's own types.

        Raises:
            ValueError: it is not what this setting takes; the message says what is.
        """
        return _PARSERS[self.kind](self, raw)

    def shown(self, value: object) -> object:
        """A value as people and JSON may see it: without secrets."""
        if isinstance(value, tuple):
            return [str(each) for each in value]
        return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting's value and where it comes from."""

    setting: Setting
    value: object
    source: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """All settings, in the order of the table."""

    chosen: tuple[Chosen, ...]

    def serve_settings(self) -> ServeSettings:
        """The settings to start a server with."""
        return apply(ServeSettings(), {each.setting.name: each.value for each in self.chosen})


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens in a file, one a line.

    Raises:
        InvalidSetting: it cannot be read, or holds something else.
    """
    try:
        return parse_tokens(path.read_text(encoding="utf-8").splitlines(), named=path.stem)
    except (OSError, UnicodeError) as exc:
        raise InvalidSetting(f"the tokens' file {path} cannot be read: {exc}") from exc
    except InvalidToken as exc:
        raise InvalidSetting(f"the tokens' file {path}: {exc}") from exc


def apply(settings: ServeSettings, values: Mapping[str, object]) -> ServeSettings:
    """Settings with some values replaced; values by users' names, checked already."""
    by_group: dict[type, dict[str, Any]] = {ServeSettings: {}, ServiceSettings: {}, ConnectionLimits: {}}
    for name, value in values.items():
        setting = BY_NAME[name]
        by_group[setting.group][setting.field] = value
    return replace(
        settings,
        service=replace(settings.service, **by_group[ServiceSettings]),
        connection=replace(settings.connection, **by_group[ConnectionLimits]),
        **by_group[ServeSettings],
    )


def checked(options: Mapping[str, object]) -> dict[str, object]:
    """Values that a caller gives by users' names, checked as those of users are.

    Raises:
        InvalidSetting: there is no such setting, or it does not take that value.
    """
    return {
        name: _parsed(_named(name, "argument"), value, f"argument {name}") for name, value in options.items()
    }


def resolve(flags: Mapping[str, object], environment: Mapping[str, str], directory: Path) -> Resolved:
    """Look for each setting where it can come from.

    Args:
        flags: what the command line gave, by users' names; `config` names the file.
        environment: of the process.
        directory: where the file is looked for, if none is named.

    Raises:
        InvalidSetting: a value is wrong, or the file.
    """
    named = flags.get("config") or environment.get(CONFIG_VARIABLE)
    from_file, file_source = read_file(Path(str(named))) if named else find_file(directory)
    for key in from_file:
        _named(key, file_source)
    return Resolved(
        tuple(_choose(setting, flags, environment, from_file, file_source) for setting in SETTINGS)
    )


def find_file(directory: Path) -> tuple[dict[str, object], str]:
    """What `durafold.toml` says, or the table `tool.durafold` of `pyproject.toml`, and the name of which.

    Raises:
        InvalidSetting: see `read_file`.
    """
    if (directory / FILE_NAME).is_file():
        return read_file(directory / FILE_NAME)
    if (directory / "pyproject.toml").is_file():
        return read_file(directory / "pyproject.toml")
    return {}, ""


def read_file(path: Path) -> tuple[dict[str, object], str]:
    """What a file says, and how to call it.

    Raises:
        InvalidSetting: it cannot be read, or is no TOML.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeError) as exc:
        raise InvalidSetting(f"the configuration {path} cannot be read: {exc}") from exc
    if path.name != "pyproject.toml":
        return document, path.name
    table = document.get("tool", {}).get("durafold", {})
    return (table, f"{path.name} [tool.durafold]") if isinstance(table, dict) else ({}, "")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser a flag for each setting; `given` reads them."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"configuration file ({FILE_NAME}, or [tool.durafold] of pyproject.toml)",
    )
    for setting in SETTINGS:
        help_ = f"{setting.help} ({setting.shown_default})".replace("%", "%%")
        if setting.kind == "switch":
            parser.add_argument(
                setting.flag,
                dest=setting.name,
                action=argparse.BooleanOptionalAction,
                default=None,
                help=help_,
            )
        else:
            parser.add_argument(
                setting.flag,
                dest=setting.name,
                action="append" if setting.each else "store",
                metavar=_metavar(setting),
                help=help_,
            )


def given(options: argparse.Namespace) -> dict[str, object]:
    """What a command line has said, by users' names."""
    names = ("config", *BY_NAME)
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _choose(
    setting: Setting,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    from_file: Mapping[str, object],
    file_source: str,
) -> Chosen:
    if setting.name in flags:
        return _chosen(setting, flags[setting.name], f"argument {setting.flag}", f"flag {setting.flag}")
    if setting.env in environment:
        return _chosen(setting, environment[setting.env], f"environment variable {setting.env}")
    if setting.name in from_file:
        return _chosen(setting, from_file[setting.name], f"{file_source}, key {setting.name}", file_source)
    return Chosen(setting, setting.default, "default")


def _chosen(setting: Setting, raw: object, where: str, source: str | None = None) -> Chosen:
    return Chosen(setting, _parsed(setting, raw, where), source or where)


def _parsed(setting: Setting, raw: object, where: str) -> object:
    try:
        return setting.parse(raw)
    except ValueError as exc:
        shown = "" if setting.is_secret else f" (it is {raw!r})"
        raise InvalidSetting(f"{where}: {exc}{shown}") from None


def _named(name: str, where: str) -> Setting:
    setting = BY_NAME.get(name)
    if setting is None:
        close = difflib.get_close_matches(name, BY_NAME, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; `durafold config show` lists all"
        raise InvalidSetting(f"{where}: there is no setting {name}{hint}")
    return setting


# Parsers, one for each kind


def _number(setting: Setting, raw: object) -> object:
    kind = int if setting.kind == "whole number" else float
    what = f"a {setting.kind}"
    if isinstance(raw, bool) or not isinstance(raw, (str, int, kind)):
        raise _Unfit(f"must be {what}")
    try:
        value = kind(raw)
    except ValueError:
        raise _Unfit(f"must be {what}") from None
    if setting.least is None and not 0 < value < float("inf"):
        raise _Unfit("must be greater than 0")
    least = setting.least if setting.least is not None else 0
    most = setting.most if setting.most is not None else float("inf")
    if not least <= value <= most:
        raise _Unfit(f"must be from {least:g} to {most:g}")
    return value


def _switch(_setting: Setting, raw: object) -> bool:
    text = str(raw).strip().lower()
    if text not in _TRUE | _FALSE:
        raise _Unfit("must be true or false")
    return text in _TRUE


def _text(setting: Setting, raw: object) -> str:
    if not isinstance(raw, str):
        raise _Unfit("must be text")
    if setting.choices is not None and raw not in setting.choices:
        raise _Unfit(f"must be one of {', '.join(setting.choices)}")
    return raw


def _path(_setting: Setting, raw: object) -> Path | None:
    if raw is None:
        return None
    if not isinstance(raw, (str, Path)) or not str(raw):
        raise _Unfit("must be a path")
    return Path(raw)


def _texts(_setting: Setting, raw: object) -> tuple[str, ...]:
    values = raw.split() if isinstance(raw, str) else raw
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise _Unfit("must be a list of texts")
    return tuple(values)


def _tokens(setting: Setting, raw: object) -> tuple[Token, ...]:
    if isinstance(raw, tuple) and all(isinstance(token, Token) for token in raw):
        return raw
    return parse_tokens(_texts(setting, raw))


_PARSERS: Final[Mapping[Kind, Callable[[Setting, object], object]]] = {
    "whole number": _number,
    "number": _number,
    "switch": _switch,
    "text": _text,
    "path": _path,
    "texts": _texts,
    "tokens": _tokens,
}


def _kind(hint: object) -> Kind:
    simple: Mapping[object, Kind] = {int: "whole number", float: "number", bool: "switch", str: "text"}
    if hint == Path | None:
        return "path"
    if hint == tuple[Token, ...]:
        return "tokens"
    if hint == tuple[str, ...]:
        return "texts"
    return simple.get(hint, "text")  # a Literal is text with choices


def _settings_of(group: type) -> list[Setting]:
    hints = get_type_hints(group)
    return [
        Setting(
            name=field.metadata.get("name", field.name),
            group=group,
            field=field.name,
            kind=_kind(hints[field.name]),
            default=field.default,
            help=field.metadata["help"],
            choices=field.metadata.get("choices"),
            least=field.metadata.get("least"),
            most=field.metadata.get("most"),
            each=field.metadata.get("each", ""),
        )
        for field in fields(group)
        if "help" in field.metadata
    ]


SETTINGS: Final = tuple(
    setting
    for group in (ServeSettings, ServiceSettings, ConnectionLimits)
    for setting in _settings_of(cast("type", group))
)
"""The table: what there is to set, in the order in which it is shown."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def _metavar(setting: Setting) -> str:
    if setting.choices is not None:
        return "|".join(setting.choices)
    words: Mapping[Kind, str] = {"whole number": "N", "number": "N", "path": "PATH", "tokens": "TOKEN"}
    return words.get(setting.kind, "TEXT")
