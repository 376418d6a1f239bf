"""The Jaeger reader against an HTTP transport that answers as Jaegers do, healthy and otherwise."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from handrail_harness.errors import SourceError
from handrail_harness.sources.jaeger import JaegerSource

from .test_sources_files import TRACE, traces

URL = "http://jaeger.example:16686"


def jaeger(answer: Any, seen: list[httpx.Request] | None = None, url: str = URL) -> JaegerSource:
    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    return JaegerSource(url, transport=httpx.MockTransport(handle))


def test_a_trace_is_read_raw() -> None:
    """Adjusters are switched off under the old and the new name of the parameter."""
    seen: list[httpx.Request] = []
    spans = jaeger({"result": traces()}, seen).spans(TRACE)
    assert [span.span_id for span in spans] == ["b7ad6b7169203331"]
    assert seen[0].url.path == f"/api/v3/traces/{TRACE}"
    assert seen[0].url.params["rawTraces"] == seen[0].url.params["raw_traces"] == "true"


def test_not_found_is_empty() -> None:
    """404 means not yet, for a trace and for a search."""
    answer = httpx.Response(404, text='{"error":{"httpCode":404,"message":"No traces found"}}')
    source = jaeger(answer)
    assert source.spans(TRACE) == []
    assert source.traces() == []
    assert source.traces_of_run("r") == []
    assert source.events(TRACE) == []


def test_a_run_is_looked_up_by_attribute() -> None:
    """The search names the run, and what an older Jaeger returns beyond it is left out."""
    seen: list[httpx.Request] = []
    document = traces()
    other = traces(traceId="f" * 32, attributes=[])
    document["resourceSpans"] += other["resourceSpans"]
    assert jaeger({"result": document}, seen).traces_of_run("r") == [TRACE]
    query = seen[0].url.params
    assert json.loads(query["query.attributes"]) == {"agent.run.id": "r"}
    assert query["query.startTimeMin"] < query["query.startTimeMax"]


def test_lineage_is_looked_up_by_attribute() -> None:
    """Traces of Celery's root id, which a branch without a run id still has."""
    seen: list[httpx.Request] = []
    value = {"key": "agent.message.root_id", "value": {"stringValue": "task-1"}}
    assert jaeger({"result": traces(attributes=[value])}, seen).traces_of_root("task-1") == [TRACE]
    assert json.loads(seen[0].url.params["query.attributes"]) == {"agent.message.root_id": "task-1"}


BAD = {
    "500": httpx.Response(500, text="boom\nboom"),
    "400": httpx.Response(400, json={"error": "no"}),
    "html": httpx.Response(200, text="<!DOCTYPE html>"),
    "html 404": httpx.Response(404, html="<h1>nothing here</h1>"),
    "list": httpx.Response(200, json=[1]),
    "no result": httpx.Response(200, json={"data": []}),
    "not otlp": httpx.Response(200, json={"result": {"resourceSpans": "x"}}),
    "unreachable": httpx.ConnectError("[Errno 111] Connection refused\nmore"),
    "slow": httpx.ReadTimeout("too slow"),
    "cut off": httpx.RemoteProtocolError("peer closed connection"),
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_anything_else_is_one_clear_line(answer: Any) -> None:
    """Every failure names the address in one line and says what to look at."""
    with pytest.raises(SourceError) as error:
        jaeger(answer).spans(TRACE)
    message = str(error.value)
    assert URL in message
    assert ";" in message
    assert message.isprintable()


@pytest.mark.parametrize("url", ["", "localhost:16686", "ftp://host", "http://"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    """What is no http address is refused before anything is sent."""
    with pytest.raises(SourceError):
        JaegerSource(url)


def test_passwords_in_the_address_are_not_shown() -> None:
    """User and password of the address appear neither in the name nor in an error."""
    source = jaeger(httpx.Response(500), url="http://me:hunter2@jaeger.example/base/")
    assert "hunter2" not in source.name
    with pytest.raises(SourceError) as error:
        source.spans(TRACE)
    assert "hunter2" not in str(error.value)
