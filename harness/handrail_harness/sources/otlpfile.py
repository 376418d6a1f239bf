"""Reads OTLP-JSON files: one traces or logs request a line, or one pretty-printed request; `.gz` as well.

The format of `opentelemetry-exporter-otlp-json-file` and of the Collector's file exporter.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.errors import SourceError
from handrail_harness.otlp import MalformedOTLP, events_of, from_json_document, spans_of
from handrail_harness.sources.summaries import group_by_trace, summarize
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_propagation.conventions import RUN_ID

_SIGNALS = (
    "resourceSpans",
    "resource_spans",
    "resourceLogs",
    "resource_logs",
    "resourceMetrics",
    "resource_metrics",
)
_WHAT_IT_SHOULD_BE = "expected one OTLP-JSON traces or logs request a line"


class OTLPFileSource:
    """The spans and events of one file, read once when opened.

    Raises `SourceError` with path and line number where a line is no OTLP request, or nothing in it is.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        self._spans: dict[str, list[Span]] = {}
        self._events: dict[str, list[LogEvent]] = {}
        spans: list[Span] = []
        for line, document in _documents(self._path):
            try:
                spans.extend(spans_of(from_json_document(document, ExportTraceServiceRequest)))
                for event in events_of(from_json_document(document, ExportLogsServiceRequest)):
                    self._events.setdefault(event.trace_id, []).append(event)
            except MalformedOTLP as error:
                raise _refusal(self._path, line, " ".join(str(error).split())) from error
        self._spans = group_by_trace(spans)

    @property
    def name(self) -> str:
        """`file:` and the path."""
        return f"file:{self._path}"

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace, in the order of the file."""
        return self._spans.get(trace_id, [])

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return the log-based events of one trace."""
        return self._events.get(trace_id, [])

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.run.id`."""
        return [
            trace_id
            for trace_id, spans in self._spans.items()
            if any(span.text(RUN_ID) == run_id for span in spans)
        ]

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        return summarize((span for spans in self._spans.values() for span in spans), limit)

    def close(self) -> None:
        """Nothing is held open."""


def _documents(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, request) for every line; a file that is one JSON value over several lines
    counts as one.
    """
    text = _read(path)
    if not text.strip():
        raise SourceError(f"{path} is empty; {_WHAT_IT_SHOULD_BE}")
    lines = text.split("\n")
    first = next(number for number, line in enumerate(lines) if line.strip())
    if not _is_json(lines[first]) and _is_json(text):
        yield from _requests(path, first + 1, text)
        return
    for number, line in enumerate(lines[first:], start=first + 1):
        if line.strip():
            yield from _requests(path, number, line)


def _requests(path: Path, line: int, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, line, f"not JSON ({error})") from error
    for document in value if isinstance(value, list) else [value]:
        # Jaeger's /api/v3 wraps its answer, and people save those answers.
        inner = document.get("result", document) if isinstance(document, dict) else document
        if not isinstance(inner, dict) or not any(signal in inner for signal in _SIGNALS):
            raise _refusal(path, line, "a JSON value without resourceSpans or resourceLogs")
        yield line, inner


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SourceError(f"there is no file {path}; give file:PATH of an OTLP-JSON file") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not text (byte {error.start}); {_WHAT_IT_SHOULD_BE}") from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"cannot read {path}: {reason}") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refusal(path: Path, line: int, why: str) -> SourceError:
    return SourceError(f"{path} line {line}: {why[:200]}; {_WHAT_IT_SHOULD_BE}")
