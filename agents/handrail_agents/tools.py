"""A tool: a function, what it may do, and which resources it touches. Registering, not running."""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NoReturn, ParamSpec, TypeVar
from urllib.parse import quote

from handrail_agents import contract
from handrail_agents.errors import ConfigurationError, HandrailError
from handrail_agents.models.base import ToolSpec
from handrail_agents.signatures import Signature
from handrail_propagation.conventions import RISKS, Risk
from handrail_propagation.redaction import redact

P = ParamSpec("P")
R = TypeVar("R")

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_URI_MAX_CHARS: Final = 1_024
_URIS_MAX: Final = 64


class Tool(Generic[P, R]):
    """What `@ops.tool` makes of a function; `function` is the function itself, for its unit tests.

    It is not callable: a call goes through `run.call` or a model, where the contract and the gate are.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        risk: Risk = "destructive",
        reversible: bool = False,
        touches: str | Sequence[str] | None = None,
        name: str | None = None,
        idempotent: bool = False,
        credential: str | None = None,
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        what = f"tool {self.name!r}"
        if not NAME.fullmatch(self.name):
            raise ConfigurationError(f"{what}: a name is letters, digits, - and _, at most 64")
        if risk not in RISKS:
            raise ConfigurationError(f"{what}: risk={risk!r} is not one of {', '.join(RISKS)}")
        self.risk: Risk = risk
        self.reversible = reversible
        self.idempotent = idempotent
        self.credential = credential
        self.description = (function.__doc__ or "").strip()
        self.signature = Signature(what, function)
        if credential is not None and credential not in self.signature.parameters:
            raise ConfigurationError(f"{what}: credential={credential!r} is not one of its parameters")
        templates = [touches] if isinstance(touches, str) else list(touches or ())
        self.touches = tuple(Template(what, text, self.signature, credential) for text in templates)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        raise HandrailError(
            f"tool {self.name!r} is called through run.call(...) or a model, so that contract and gate see "
            "it; a unit test may use its .function"
        )

    def spec(self) -> ToolSpec:
        """Return the tool as a model sees it: with `_decision` when its risk is above `read`."""
        schema = self.signature.schema
        return ToolSpec(
            name=self.name,
            description=self.description,
            parameters=schema if self.risk == "read" else contract.with_record(schema),
            credential=self.credential,
        )

    def resources(self, plain: dict[str, Any]) -> list[str]:
        """Return the URIs that a call with these validated arguments (JSON form) touches."""
        found = [uri for template in self.touches for uri in template.fill(plain)]
        return list(dict.fromkeys(found))[:_URIS_MAX]

    def credential_id(self, plain: dict[str, Any]) -> str | None:
        """Return `sha256:` and 12 hex digits for the credential among the arguments, `None` without one."""
        if self.credential is None or plain.get(self.credential) is None:
            return None
        value = plain[self.credential]
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Template:
    """A URI template: `{name}` is one argument, percent-encoded whole; `{name:path}` keeps its slashes.

    Either way a value cannot add a query or a host of its own, nor climb: `..` segments are encoded, too. A
    list gives one URI per item.
    """

    def __init__(self, what: str, text: str, signature: Signature, credential: str | None) -> None:
        try:
            self._parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigurationError(f"{what}: touches={text!r} is not a template ({error})") from None
        for _, name, form, conversion in self._parts:
            if name is None:
                continue
            if name not in signature.parameters or conversion or form not in {"", "path"}:
                raise ConfigurationError(
                    f"{what}: {{{name}}} in touches={text!r} is no parameter; use {{name}} or {{name:path}}"
                )
            if name == credential:
                raise ConfigurationError(f"{what}: touches={text!r} would record the credential {name!r}")

    def fill(self, plain: dict[str, Any]) -> list[str]:
        """Return the URIs for these arguments, each at most 1,024 characters."""
        uris = [""]
        for literal, name, form, _ in self._parts:
            uris = [uri + literal for uri in uris]
            if name is not None:
                value = plain.get(name)
                values = value if isinstance(value, list) else [value]
                quoted = [_quoted(item, keep="/" if form == "path" else "") for item in values[:_URIS_MAX]]
                uris = [uri + text for uri in uris for text in quoted][:_URIS_MAX]
        return [uri if len(uri) <= _URI_MAX_CHARS else uri[: _URI_MAX_CHARS - 3] + "..." for uri in uris]


def _quoted(value: Any, *, keep: str) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    encoded = quote(redact(text, _URI_MAX_CHARS), safe=keep)
    segments = encoded.split("/")
    return "/".join(part.replace(".", "%2E") if part in {".", ".."} else part for part in segments)
