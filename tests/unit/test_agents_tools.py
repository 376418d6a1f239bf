"""Tools and agents as they are declared: signatures, resources, credentials, and what is refused."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from handrail_agents.agent import Agent, delegation_spec
from handrail_agents.errors import ConfigurationError, HandrailError, InvalidArguments
from handrail_agents.signatures import Signature
from handrail_agents.tools import Tool


class Place(BaseModel):
    host: str
    port: int = 5432


def move(source: Place, table: str, mode: Literal["copy", "move"] = "copy", tries: int = 1) -> None:
    """Move a table."""


def check(arguments: str) -> Any:
    return Signature("tool 'move'", move).check_json(arguments)


def test_arguments_become_what_the_annotations_say() -> None:
    """Models are built, defaults filled in, and the canonical form is that of the validated arguments."""
    found = check('{"table": "t", "source": {"host": "a"}}')
    assert found.values == {"source": Place(host="a"), "table": "t", "mode": "copy", "tries": 1}
    assert found.plain == {"source": {"host": "a", "port": 5432}, "table": "t", "mode": "copy", "tries": 1}
    assert found.canonical == b'{"mode":"copy","source":{"host":"a","port":5432},"table":"t","tries":1}'
    assert check('{"source":{"port":5432,"host":"a"},"tries":1,"table":"t"}').canonical == found.canonical


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{}", "source: Field required"),
        ('{"source": {"host": "a"}, "table": 5}', "table: Input should be a valid string"),
        ('{"source": {"host": "a"}, "table": "t", "tries": "3"}', "tries: Input should be a valid integer"),
        ('{"source": {"host": "a"}, "table": "t", "tries": true}', "tries: Input should be a valid integer"),
        ('{"source": {"host": "a"}, "table": "t", "mode": "burn"}', "mode"),
        ('{"source": {"host": "a"}, "table": "t", "force": true}', "force: Extra inputs are not permitted"),
        ('{"source": {"host": "a", "sudo": 1}, "table": "t"', "not JSON"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"table": "a", "table": "b", "source": {"host": "a"}}', "same key twice"),
    ],
)
def test_arguments_that_do_not_fit(arguments: str, said: str) -> None:
    """Each mistake is named with its parameter; nothing is guessed or converted."""
    with pytest.raises(InvalidArguments, match=said):
        check(arguments)


def test_values_are_not_quoted_in_errors() -> None:
    """The message goes into logs and to the model: it never holds what was sent."""
    with pytest.raises(InvalidArguments) as refused:
        check('{"source": {"host": "a"}, "table": "t", "mode": "hunter2"}')
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=100))
def test_no_text_breaks_the_check(text: str) -> None:
    """Whatever a model sends, it fits or it is `InvalidArguments`."""
    with pytest.raises(InvalidArguments):
        check(text)


@pytest.mark.parametrize(
    "function",
    [lambda *args: None, lambda **kwargs: None, lambda _hidden: None],
    ids=["*args", "**kwargs", "underscore"],
)
def test_functions_that_cannot_be_called_by_name(function: Any) -> None:
    """What a model could not call is refused where it is declared."""
    with pytest.raises(ConfigurationError):
        Tool(function, name="tool")


def drop(host: str, db: str = "main", tables: list[str] | None = None, token: str = "") -> None:
    """Drop tables."""


def resources(template: str, **arguments: Any) -> list[str]:
    tool = Tool(drop, touches=template)
    return tool.resources(tool.signature.check(arguments).plain)


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("pg://{host}/{db}", {"host": "db-7"}, ["pg://db-7/main"]),
        ("pg://{host}/{tables}", {"host": "a", "tables": ["x", "y"]}, ["pg://a/x", "pg://a/y"]),
        ("pg://{host}/x", {"host": "a/b?c=d#e"}, ["pg://a%2Fb%3Fc%3Dd%23e/x"]),
        ("file://{host:path}", {"host": "etc/passwd"}, ["file://etc/passwd"]),
        ("file://root/{host:path}", {"host": "../../etc"}, ["file://root/%2E%2E/%2E%2E/etc"]),
        ("pg://{host}", {"host": "user:hunter2@db"}, ["pg://user%3Ahunter2%40db"]),
    ],
)
def test_resources_of_a_call(template: str, arguments: dict[str, Any], expected: list[str]) -> None:
    """Arguments fill the template and cannot leave their place in it."""
    assert resources(template, **arguments) == expected


def test_resources_are_bounded() -> None:
    """A hostile list or name does not flood the trace."""
    assert len(resources("pg://{host}/{tables}", host="a", tables=[str(n) for n in range(10_000)])) <= 64
    assert all(len(uri) <= 1_024 for uri in resources("pg://{host}", host="h" * 100_000))


def test_a_credential_leaves_a_fingerprint_only() -> None:
    """Two calls with one token can be told to be so; the token cannot be read from it."""
    tool = Tool(drop, touches="pg://{host}", credential="token")
    plain = tool.signature.check({"host": "a", "token": "mf_live_secret"}).plain
    fingerprint = tool.credential_id(plain)
    assert fingerprint is not None
    assert fingerprint.startswith("sha256:")
    assert "secret" not in fingerprint
    assert fingerprint == tool.credential_id(
        tool.signature.check({"host": "b", "token": "mf_live_secret"}).plain
    )


@pytest.mark.parametrize(
    "options",
    [
        {"risk": "low"},
        {"name": "has spaces"},
        {"name": "x" * 65},
        {"touches": "pg://{nothing}"},
        {"touches": "pg://{host!r}"},
        {"touches": "pg://{host:>10}"},
        {"touches": "pg://{"},
        {"credential": "password"},
        {"credential": "token", "touches": "pg://{token}"},
    ],
)
def test_declarations_that_are_refused(options: dict[str, Any]) -> None:
    """A mistake in a declaration is found at import, not at 2 a.m."""
    with pytest.raises(ConfigurationError):
        Tool(drop, **options)


def test_a_tool_that_declares_nothing_is_destructive() -> None:
    """Silence is the highest risk, and not reversible."""
    tool = Tool(drop)
    assert (tool.risk, tool.reversible, tool.idempotent) == ("destructive", False, False)
    assert "_decision" in tool.spec().parameters["required"]
    assert "_decision" not in Tool(drop, risk="read").spec().parameters["properties"]


def test_a_tool_cannot_be_called_past_the_gate() -> None:
    """Calling the decorated function by mistake does not run it."""
    with pytest.raises(HandrailError, match=r"run\.call"):
        Tool(drop)(host="a")


def test_agents_that_are_refused() -> None:
    """Tools that are none, two of one name, and names that a delegation would have."""

    def plain(run: Any, host: str) -> None: ...

    def delegate_to_scout() -> None: ...

    def has_self(run: Any, self: str) -> None: ...

    for options in (
        {"tools": [drop]},
        {"tools": [Tool(drop), Tool(drop)]},
        {"tools": [Tool(delegate_to_scout)], "delegates": ["scout"]},
        {"name": "no spaces please"},
    ):
        with pytest.raises(ConfigurationError):
            Agent(plain, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="self"):
        Agent(has_self)


def test_a_delegation_is_checked_where_it_is_made() -> None:
    """Calling an agent runs nothing; wrong arguments are said at once; a model must give a reason."""

    def scout(run: Any, host: str, db: str = "orders") -> None:
        """Look."""

    agent = Agent(scout)
    assert agent("db-7").arguments == {"host": "db-7", "db": "orders"}
    for args, kwargs in (((), {}), (("a", "b", "c"), {}), (("a",), {"host": "b"}), ((), {"host": 5})):
        with pytest.raises(InvalidArguments):
            agent(*args, **kwargs)  # type: ignore[arg-type]
    spec = delegation_spec("scout", agent)
    assert spec.name == "delegate_to_scout"
    assert set(spec.parameters["required"]) == {"host", "_reason"}
