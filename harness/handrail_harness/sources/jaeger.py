"""Reads a Jaeger through its HTTP API v3, raw: no adjuster may rewrite, drop or annotate a span
(`rawTraces=true`).

Jaeger answers 404 for "not yet" and for an empty search; everything else that is not 200 is an error. It
keeps no logs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from handrail_harness.errors import SourceError
from handrail_harness.jsonspans import spans_of_document
from handrail_harness.otlp import MalformedOTLP
from handrail_harness.sizes import RunSize
from handrail_harness.sources.summaries import group_by_trace, summarize
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_propagation.conventions import MESSAGE_ROOT_ID, RUN_ID

TIMEOUT_SECONDS = 30.0
LOOKBACK = timedelta(days=7)
CLOCK_SLACK = timedelta(minutes=10)
"""The memory store's window is strict at both ends, and the clocks of workers differ: look a little into
the future.
"""
SEARCH_DEPTH = 1000

# Jaeger up to 2.16 takes snake_case parameters, later ones camelCase; either ignores the other's.
_OLD_NAMES = {
    "rawTraces": "raw_traces",
    "query.startTimeMin": "query.start_time_min",
    "query.startTimeMax": "query.start_time_max",
    "query.searchDepth": "query.num_traces",
    "query.rawTraces": "query.raw_traces",
    "query.serviceName": "query.service_name",
}


class JaegerSource:
    """The traces of one Jaeger; `url` is the address of its user interface, such as
    `http://127.0.0.1:16686`.

    `lookback` limits searches (not reading a trace by its id). Every method raises `SourceError` in one
    line with the address when Jaeger is unreachable, answers with an error or with something that is no
    OTLP.
    """

    def __init__(
        self, url: str, *, lookback: timedelta = LOOKBACK, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._lookback = lookback
        try:
            address = httpx.URL(self._url)
        except httpx.InvalidURL as error:
            raise SourceError(f"{url!r} is not an address: {error}; use jaeger:http://HOST:16686") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise SourceError(f"{url!r} is not an http address; use jaeger:http://HOST:16686")
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, transport=transport, follow_redirects=True)

    @property
    def name(self) -> str:
        """`jaeger:` and the address, without a password."""
        return f"jaeger:{_without_userinfo(self._url)}"

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the raw spans of one trace; empty when Jaeger has none (yet)."""
        return [
            span
            for span in self._spans(f"/api/v3/traces/{trace_id}", {"rawTraces": "true"})
            if span.trace_id == trace_id
        ]

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return nothing: Jaeger keeps no logs signal."""
        return []

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of the traces within the lookback that have a span with this `agent.run.id`."""
        return self._traces_with(RUN_ID, run_id)

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of the traces within the lookback that have a span with this `agent.message.root_id`."""
        return self._traces_with(MESSAGE_ROOT_ID, root_id)

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        return summarize(self._search({}, limit), limit)

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """Return nothing: Jaeger counts the spans of a trace by giving them all."""
        return None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _traces_with(self, attribute: str, value: str) -> list[str]:
        # Older Jaegers ignore query.attributes, so what comes back is looked through in any case.
        found = self._search({"query.attributes": json.dumps({attribute: value})}, SEARCH_DEPTH)
        return [
            trace_id
            for trace_id, spans in group_by_trace(found).items()
            if any(span.text(attribute) == value for span in spans)
        ]

    def _search(self, query: dict[str, str], depth: int) -> list[Span]:
        now = datetime.now(UTC)
        return self._spans(
            "/api/v3/traces",
            {
                "query.startTimeMin": _rfc3339(now - self._lookback),
                "query.startTimeMax": _rfc3339(now + CLOCK_SLACK),
                "query.searchDepth": str(depth),
                "query.rawTraces": "true",
                **query,
            },
        )

    def _spans(self, path: str, query: dict[str, str]) -> list[Span]:
        document = self._get(path, query)
        try:
            return spans_of_document(document)
        except MalformedOTLP as error:
            raise self._error(
                f"answered {path} with something that is no OTLP", "is it a Jaeger 2?"
            ) from error

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        parameters = query | {_OLD_NAMES[key]: value for key, value in query.items() if key in _OLD_NAMES}
        try:
            answer = self._client.get(self._url + path, params=parameters)
        except httpx.TimeoutException as error:
            raise self._error(f"did not answer within {TIMEOUT_SECONDS:g} s", "is it overloaded?") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._error(f"cannot be reached ({_first_line(error)})", "is it running there?") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            if "text/html" in answer.headers.get("content-type", ""):  # a web server that has no such page
                raise self._error(f"does not know {path}", "a Jaeger 2 with API v3 is needed")
            return {}
        if answer.status_code != httpx.codes.OK:
            raise self._error(
                f"answered {answer.status_code} {answer.reason_phrase} to {path}", "its own log says why"
            )
        try:
            document = answer.json()
        except (ValueError, RecursionError) as error:
            raise self._error(f"answered {path} with something that is no JSON", "is it a Jaeger?") from error
        result = document.get("result") if isinstance(document, dict) else None
        if not isinstance(result, dict):
            raise self._error(f"answered {path} without a result", "is it a Jaeger 2?")
        return result

    def _error(self, what: str, next_step: str) -> SourceError:
        return SourceError(f"Jaeger at {_without_userinfo(self._url)} {what}; {next_step}")


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _without_userinfo(url: str) -> str:
    return str(httpx.URL(url).copy_with(userinfo=b""))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
