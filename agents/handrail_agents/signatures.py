"""A function's parameters as a pydantic model: the JSON schema for a model, and the check of what it sends.

Nothing about tools or agents; both stand on this.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_json

from handrail_agents import strict_json
from handrail_agents.errors import ConfigurationError, InvalidArguments
from handrail_agents.strict_json import StrictJSONError

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """The parameters of `function`, without the first `skip` ones.

    Raises `ConfigurationError` for what cannot be called by name (`*args`, `**kwargs`, positional-only), for
    names with a leading underscore, and for annotations that pydantic has no schema for.
    """

    def __init__(self, what: str, function: Callable[..., Any], *, skip: int = 0) -> None:
        self.what = what
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"{what} is async; make it a plain function that calls asyncio.run()")
        parameters = list(inspect.signature(function).parameters.values())
        if len(parameters) < skip:
            raise ConfigurationError(f"{what} takes no `run`; make `run` its first parameter")
        hints = _hints(what, function)
        self._names: dict[str, str] = {}
        fields: dict[str, Any] = {}
        for number, parameter in enumerate(parameters[skip:]):
            if parameter.kind not in _NAMED:
                raise ConfigurationError(
                    f"{what}: parameter {parameter} cannot be given by name; spell every parameter out"
                )
            if parameter.name.startswith("_"):
                raise ConfigurationError(f"{what}: parameter {parameter.name!r} begins with an underscore")
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            annotation = hints.get(parameter.name, Any)
            # Fields are numbered: a parameter may have any name, also one that BaseModel uses for itself.
            self._names[f"p{number}"] = parameter.name
            fields[f"p{number}"] = (Annotated[annotation, Field(alias=parameter.name)], default)
        try:
            self._model: type[BaseModel] = create_model(
                "Arguments",
                __config__=ConfigDict(extra="forbid", strict=True, serialize_by_alias=True),
                **fields,
            )
            self.schema = _without_titles(self._model.model_json_schema())
        except Exception as error:
            raise ConfigurationError(f"{what}: no JSON schema for its parameters ({error})") from error

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self._names.values())

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return positional and keyword arguments as one mapping; raises `InvalidArguments`."""
        if len(args) > len(self.parameters):
            raise InvalidArguments(f"{self.what} takes {len(self.parameters)} arguments, not {len(args)}")
        given = dict(zip(self.parameters, args, strict=False))
        twice = sorted(given.keys() & kwargs.keys())
        if twice:
            raise InvalidArguments(f"{self.what}: {', '.join(twice)} given twice")
        return {**given, **kwargs}

    def check(self, arguments: Mapping[str, Any]) -> Arguments:
        """Validate Python values by way of their JSON form; raises `InvalidArguments`."""
        try:
            text = to_json(dict(arguments)).decode("utf-8")
        except (PydanticSerializationError, UnicodeError, ValueError):
            raise InvalidArguments(f"{self.what}: an argument has no JSON form") from None
        return self.check_json(text)

    def check_json(self, text: str) -> Arguments:
        """Validate a JSON object strictly (no `"5"` for an integer); raises `InvalidArguments`.

        The message names the parameters and what is wrong with each, never the values.
        """
        try:
            document = strict_json.loads(text)
        except StrictJSONError as error:
            raise InvalidArguments(f"{self.what}: arguments are {error}") from None
        if not isinstance(document, dict):
            raise InvalidArguments(f"{self.what}: arguments are not a JSON object")
        try:
            model = self._model.model_validate_json(to_json(document))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in entry['loc'])[:80] or 'arguments'}: {_said(entry)}"
                for entry in error.errors(include_url=False, include_context=False, include_input=False)[:8]
            )
            raise InvalidArguments(f"{self.what}: {wrong}") from None
        except RecursionError:
            raise InvalidArguments(f"{self.what}: arguments nested too deep") from None
        try:
            plain = model.model_dump(mode="json", by_alias=True)
            canonical = rfc8785.dumps(plain)
        except (PydanticSerializationError, rfc8785.CanonicalizationError, UnicodeError) as error:
            raise InvalidArguments(
                f"{self.what}: arguments without a canonical JSON form ({type(error).__name__}); "
                "give integers above 2^53 as strings"
            ) from None
        values = {name: getattr(model, field) for field, name in self._names.items()}
        return Arguments(values=values, plain=plain, canonical=canonical)


class Arguments(typing.NamedTuple):
    """Validated arguments: Python values for the call, their JSON form, and its RFC 8785 bytes."""

    values: dict[str, Any]
    plain: dict[str, Any]
    canonical: bytes


def _said(entry: Any) -> str:
    # Messages of custom validators may quote the value; pydantic's own do not.
    return "not accepted" if entry["type"] in {"value_error", "assertion_error"} else str(entry["msg"])


def _hints(what: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ConfigurationError(f"{what}: its annotations cannot be resolved ({error})") from error


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop pydantic's generated titles: noise to a model."""
    properties = {
        name: {key: value for key, value in entry.items() if key != "title"}
        for name, entry in schema.get("properties", {}).items()
    }
    kept = {key: value for key, value in schema.items() if key not in {"title", "properties"}}
    return {**kept, "type": "object", "properties": properties}
