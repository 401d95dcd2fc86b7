"""Between JSON and the user's types: actions and states as pydantic models, dataclasses, TypedDicts.

What is in a log is JSON, so everything is read by JSON's rules (a date is a string, a tuple a list), also by
models that are strict about Python values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Union, get_origin, get_type_hints

from pydantic import Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from durafold.state.json_values import NotJson, to_json_value
from durafold.state.outcomes import UnknownAction

__all__ = ["PLAIN", "Model", "UnresolvedModel", "action_model", "model_of"]


class UnresolvedModel(TypeError):
    """A reducer's annotation, or a type given as model, cannot be turned into a model."""


@dataclass(frozen=True)
class Model:
    """How values of one type travel as JSON.

    Attributes:
        adapter: pydantic's reader and writer for the type, or None for plain JSON values.
    """

    adapter: TypeAdapter[Any] | None = None

    @property
    def reads_as_it_is(self) -> bool:
        """Whether `parse` gives back what it is given."""
        return self.adapter is None

    def parse(self, value: Any) -> Any:
        """JSON value → value of the type.

        Raises:
            UnknownAction: the tag of a discriminated union is one this version does not know.
            pydantic.ValidationError: it does not match the type.
        """
        if self.adapter is None:
            return value
        try:
            # Its `validate_json` does the same, with a fifth of the time spent on options that nobody gave.
            return self.adapter.validator.validate_json(to_json(value))
        except ValidationError as error:
            tag = _unknown_tag(error)
            if tag is None:
                raise
            raise UnknownAction(f"there is no action of type {tag!r}") from error

    def check(self, value: Any) -> Any:
        """A value of the type, made from one of it or from plain dicts that match it.

        Raises:
            NotJson: it does not match the type.
        """
        if self.adapter is None:
            return value
        try:
            return self.adapter.validate_python(value)
        except ValidationError as exc:
            raise NotJson(str(exc)) from exc

    def dump(self, value: Any) -> Any:
        """Value of the type → JSON value; plain dicts are accepted where they match the type.

        Raises:
            NotJson: it does not match the type or has no JSON form.
        """
        if self.adapter is None:
            return to_json_value(value)
        checked = self.check(value)
        try:
            return to_json_value(
                self.adapter.dump_python(checked, mode="json", by_alias=True, warnings="error")
            )
        except PydanticSerializationError as exc:
            raise NotJson(str(exc)) from exc

    def schema(self) -> Any:
        """JSON schema of the type, or a description where it has none."""
        if self.adapter is None:
            return "json"
        try:
            return self.adapter.json_schema()
        except PydanticUserError:
            return str(self.adapter.core_schema["type"])


PLAIN: Final = Model()
"""Plain JSON values, neither checked nor converted."""

_PLAIN_TYPES: Final = frozenset({bool, int, float, str, list, dict, type(None)})


def model_of(value: Any, declared: Any = None) -> Model:
    """The model of a state: of the declared type, else of the type its initial value has.

    Raises:
        UnresolvedModel: pydantic cannot make sense of the type.
    """
    if declared is None:
        return PLAIN if type(value) in _PLAIN_TYPES else _model(type(value))
    return _model(declared)


def action_model(reducer: Callable[..., Any], declared: Any = None) -> Model:
    """The model of a reducer's actions: the declared one, else what its second parameter is annotated with.

    Without either, and for `dict` and `Any`, actions are plain JSON. So are those annotated with a
    `typing.TypedDict` before Python 3.12, where pydantic can read only that of `typing_extensions`.

    Raises:
        UnresolvedModel: the annotation names something that cannot be found or is no type of data.
    """
    if declared is not None:
        return _model(declared)
    annotation = _action_annotation(reducer)
    try:
        return PLAIN if _is_plain(annotation) else _model(annotation)
    except UnresolvedModel as exc:
        if isinstance(exc.__cause__, PydanticUserError) and exc.__cause__.code == "typed-dict-version":
            return PLAIN
        raise


def _is_plain(annotation: Any) -> bool:
    plain = (Any, object, inspect.Parameter.empty, dict, Mapping)
    return annotation in plain or get_origin(annotation) in plain


def _action_annotation(reducer: Callable[..., Any]) -> Any:
    function = reducer if inspect.isroutine(reducer) else type(reducer).__call__
    try:
        parameters = list(inspect.signature(reducer).parameters.values())
    except (TypeError, ValueError):
        return Any
    if len(parameters) < 2:
        return Any
    annotation = parameters[1].annotation
    return annotation if not isinstance(annotation, str) else _resolve(function, parameters[1].name)


def _resolve(function: Callable[..., Any], parameter: str) -> Any:
    """The annotation of one parameter that was written as text (`from __future__ import annotations`)."""
    try:
        return get_type_hints(function, include_extras=True)[parameter]
    except (NameError, TypeError, KeyError) as exc:
        name = getattr(function, "__qualname__", repr(function))
        raise UnresolvedModel(f"the annotation of {parameter!r} of {name} cannot be resolved: {exc}") from exc


def _model(declared: Any) -> Model:
    if isinstance(declared, Model):
        return declared
    if isinstance(declared, TypeAdapter):
        return Model(declared)
    try:
        return Model(_by_type_field(declared) or TypeAdapter(declared))
    except PydanticUserError as exc:
        raise UnresolvedModel(f"{declared!r} is no type of data: {exc.message}") from exc


def _by_type_field(declared: Any) -> TypeAdapter[Any] | None:
    """A union read by its members' `type` field, if they all have one: faster, with one clear error."""
    if get_origin(declared) not in (Union, UnionType):
        return None
    try:
        tagged: Any = Annotated[declared, Field(discriminator="type")]  # pyright: ignore[reportInvalidTypeForm]
        return TypeAdapter(tagged)
    except (PydanticUserError, TypeError):
        return None  # `_model` tries without, and reports what is wrong


def _unknown_tag(error: ValidationError) -> Any:
    # A tag that is unknown deeper inside is an invalid part of a known action.
    for found in error.errors(include_url=False):
        if found["type"] == "union_tag_invalid" and not found["loc"]:
            return found.get("ctx", {}).get("tag")
        # Where a reducer has one type of actions only.
        if found["type"] == "literal_error" and found["loc"] == ("type",):
            return found["input"]
    return None
