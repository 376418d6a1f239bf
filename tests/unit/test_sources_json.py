"""Property-based: OTLP/JSON is read as protobuf's own parser reads it, by the short way or by that parser."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness import jsonspans
from handrail_harness.jsonspans import spans_of_document
from handrail_harness.otlp import MalformedOTLP, from_json_document, spans_of
from handrail_harness.otlpjson import write_otlp_json
from handrail_harness.spans import Link, Span, SpanEvent

ODD: list[Any] = [
    *(
        None,
        True,
        0,
        7,
        -1,
        2**31,
        2**32,
        2**63,
        2**64,
        1.0,
        1.5,
        1e309,
        "",
        "x",
        "7",
        "-7",
        " 7",
        "1_0",
        "é",
        "\ud800",
    ),
    *(
        "9" * 40,
        "AB",
        "ab" * 8,
        "ab ab",
        "SPAN_KIND_CLIENT",
        "NaN",
        [],
        [None],
        {},
        {"values": []},
        {"values": 1},
    ),
    *(
        {"stringValue": "s"},
        {"intValue": 2},
        {"doubleValue": 1},
        {"bytesValue": "AAE="},
        {"code": 2},
        {"a": 1},
    ),
]
NAMES = [
    "trace_id",
    "unknown",
    "name",
    "traceState",
    "droppedLinksCount",
    "version",
    "resource_spans",
    "stringValue",
]
values = st.recursive(
    st.text(max_size=70)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
attributes = st.dictionaries(st.text(max_size=5), values, max_size=3)
ids = st.binary(min_size=8, max_size=8).map(bytes.hex)
traces = st.sampled_from(["0af7651916cd43dd8448eb211c80319c", "c" * 32])
times = st.integers(0, 2**64 - 1)
spans = st.builds(
    Span,
    traces,
    ids,
    ids | st.just(""),
    st.text(max_size=70),
    st.sampled_from(["unspecified", "internal", "server", "client", "producer", "consumer"]),
    times,
    times,
    attributes,
    st.tuples() | st.tuples(st.builds(Link, traces, ids, attributes)),
    st.tuples() | st.tuples(st.builds(SpanEvent, st.text(max_size=5), times, attributes)),
    st.sampled_from(["unset", "ok", "error"]),
    st.text(max_size=5),
    st.sampled_from(["", "a=b"]),
    st.integers(0, 2**32 - 1),
    attributes,
    st.text(max_size=5),
)


def by_protobuf(document: dict[str, Any]) -> list[Span] | None:
    try:
        return list(spans_of(from_json_document(document, ExportTraceServiceRequest)))
    except MalformedOTLP:
        return None


def read(document: dict[str, Any]) -> list[Span] | None:
    try:
        return spans_of_document(document)
    except MalformedOTLP:
        return None


def document_of(some: list[Span], folder: Path) -> dict[str, Any]:
    write_otlp_json(folder / "spans", some)
    written: dict[str, Any] = json.loads((folder / "spans").read_text(encoding="utf-8"))
    return written


@given(some=st.lists(spans, max_size=3), edits=st.integers(0, 3), seed=st.integers(0, 2**32))
@settings(max_examples=150)
def test_the_short_way_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, some: list[Span], edits: int, seed: int
) -> None:
    """Whatever of a request is missing, misspelt, of another type or too large: the same spans, the same refusal."""
    chance = random.Random(seed)
    document = document_of(some, tmp_path_factory.getbasetemp())
    for _ in range(edits):
        place = chance.choice([node for node in _nodes(document) if node] or [{"": ""}])
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        match chance.randrange(4):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place[chance.choice(NAMES)] = chance.choice(ODD)
            case _:
                place[key] = chance.choice(ODD)
    assert repr(read(copy.deepcopy(document))) == repr(by_protobuf(document))


def _nodes(node: Any) -> list[Any]:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [node, *(below for one in inner for below in _nodes(one))] if isinstance(node, dict | list) else []


def test_what_we_write_takes_the_short_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of failed tests and of exporters are read without protobuf's parser."""
    monkeypatch.setattr(jsonspans, "from_json_document", lambda *_: pytest.fail("went by way of protobuf"))
    deep = {"a": [1, 2.5, True, "é", {"b": ["c"]}]}
    event, link = SpanEvent("e", 5, deep), Link("c" * 32, "d" * 16, deep)
    span = Span(
        "c" * 32,
        "e" * 16,
        "",
        "n",
        "client",
        1,
        2,
        deep,
        (link,),
        (event,),
        "error",
        "E",
        "a=b",
        1,
        deep,
        "s",
    )
    assert spans_of_document(document_of([span], tmp_path)) == [span]
