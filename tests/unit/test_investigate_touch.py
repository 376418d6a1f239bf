"""What spans of ordinary instrumentation show, under the stable and the older names of the conventions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail_harness.effects.touch import touch_of, without_secrets
from handrail_harness.spans import Span

SEEN = [
    (
        {"db.system": "sqlite", "db.statement": "DROP TABLE IF EXISTS users"},
        ("sqlite:///users", "drop", "destructive"),
    ),
    (
        {
            "db.system.name": "postgresql",
            "db.namespace": "shop",
            "db.collection.name": "orders",
            "db.operation.name": "DELETE",
            "server.address": "db-7",
            "server.port": 5432,
        },
        ("postgresql://db-7:5432/shop/orders", "delete", "destructive"),
    ),
    (
        {
            "db.system": "mysql",
            "db.name": "shop",
            "net.peer.name": "db",
            "db.statement": "/* app */ update t set a=1",
        },
        ("mysql://db/shop/t", "update", "write"),
    ),
    ({"db.system": "mysql", "db.statement": "SELECT * FROM t FOR UPDATE"}, ("mysql:///t", "select", "read")),
    ({"db.system": "mysql", "db.statement": "select 'x; delete from t'"}, ("mysql:///", "select", "read")),
    (
        {"db.system": "mysql", "db.statement": "select 1; truncate t"},
        ("mysql:///t", "truncate", "destructive"),
    ),
    (
        {"db.system": "postgresql", "db.statement": "WITH old AS (SELECT 1) DELETE FROM t USING old"},
        ("postgresql:///t", "delete", "destructive"),
    ),
    (
        {"db.system": "postgresql", "db.statement": "GRANT ALL ON t TO x"},
        ("postgresql:///", "grant", "access_change"),
    ),
    ({"db.system": "mongodb", "db.operation": "findAndModify"}, ("mongodb:///", "findandmodify", "write")),
    ({"db.system": "dynamodb", "db.operation": "DeleteItem"}, ("dynamodb:///", "delete", "destructive")),
    (
        {"http.request.method": "DELETE", "url.full": "https://u:p@h:8443/v/1?key=s#f"},
        ("https://h:8443/v/1", "delete", "destructive"),
    ),
    ({"http.method": "POST", "http.url": "http://h/x?secret=1"}, ("http://h/x", "post", "external")),
    (
        {"http.request.method": "GET", "server.address": "h", "url.path": "/x", "url.scheme": "https"},
        ("https://h/x", "get", "read"),
    ),
    (
        {"http.method": "PUT", "http.host": "h", "http.target": "/x?token=1"},
        ("http://h/x", "put", "external"),
    ),
    ({"file.path": "/v/1.db", "file.operation": "unlink"}, ("file:///v/1.db", "unlink", "destructive")),
    ({"file.path": "/v/1.db"}, ("file:///v/1.db", "read", "read")),
    (
        {"rpc.system": "aws-api", "rpc.service": "EC2", "rpc.method": "DeleteVolume", "aws.region": "eu"},
        ("aws://eu/EC2/DeleteVolume", "DeleteVolume", "destructive"),
    ),
]


def span(attributes: dict[str, Any], name: str = "span", kind: Any = "client") -> Span:
    return Span("a" * 32, "b" * 16, "", name, kind, 0, 1, attributes)


@pytest.mark.parametrize(("attributes", "expected"), SEEN)
def test_resource_verb_and_risk(attributes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    """Each kind of span gives its resource without secrets, its verb, and how risky that is."""
    touch = touch_of(span(attributes))
    assert touch is not None
    assert (touch.resource, touch.verb, touch.risk) == expected


def test_the_span_name_speaks_where_nothing_else_does() -> None:
    """Drivers that record no statement name their span by the operation."""
    touch = touch_of(span({"db.system": "sqlite"}, name="DELETE"))
    assert touch is not None
    assert touch.risk == "destructive"


@pytest.mark.parametrize(
    "attributes", [{}, {"http.url": "http://h"}, {"db.name": "x"}, {"rpc.system": "grpc"}]
)
def test_other_spans_show_nothing(attributes: dict[str, Any]) -> None:
    """What is no database, HTTP, file or cloud call is not guessed at."""
    assert touch_of(span(attributes)) is None


def test_a_server_span_is_the_other_side() -> None:
    """The callee's own span of an HTTP call is not counted a second time."""
    assert touch_of(span({"http.request.method": "DELETE"}, kind="server")) is None


def test_a_long_statement_takes_no_time() -> None:
    """A hostile statement of a megabyte is looked at only as far as its beginning."""
    statement = "/*" * 500_000 + "(" * 500_000
    assert touch_of(span({"db.system": "mysql", "db.statement": statement})) is None or True


@given(st.text())
def test_no_url_keeps_a_password(text: str) -> None:
    """Whatever the URL: what stood before the host and after the path is gone."""
    cleaned = without_secrets(f"https://user:{text}@host/p?q={text}")
    assert cleaned == "" or "@" not in cleaned.partition("//")[2].partition("/")[0]
    assert "?q=" not in cleaned
