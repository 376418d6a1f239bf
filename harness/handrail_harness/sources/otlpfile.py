"""Reads OTLP-JSON files: one traces or logs request a line, or one pretty-printed request; `.gz` as well.

The format of `opentelemetry-exporter-otlp-json-file` and of the Collector's file exporter.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from handrail_harness.collector import paused_collector
from handrail_harness.errors import SourceError
from handrail_harness.jsonspans import spans_of_document
from handrail_harness.otlp import MalformedOTLP, events_of, from_json_document
from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import LogEvent, Span

_SIGNALS = (
    "resourceSpans",
    "resource_spans",
    "resourceLogs",
    "resource_logs",
    "resourceMetrics",
    "resource_metrics",
)
_LOGS = ("resourceLogs", "resource_logs")
_WHAT_IT_SHOULD_BE = "expected one OTLP-JSON traces or logs request a line"


class OTLPFileSource(MemorySource):
    """The spans and events of one file, read once when opened; its name is `file:` and the path.

    Raises `SourceError` with path and line number where a line is no OTLP request, or nothing in it is.
    """

    def __init__(self, path: str | Path) -> None:
        file = Path(path).expanduser()
        spans: list[Span] = []
        events: list[LogEvent] = []
        with paused_collector():
            for line, document in _documents(file):
                try:
                    traces, logs = _split(document)
                    spans.extend(spans_of_document(traces))
                    if logs:
                        events.extend(events_of(from_json_document(logs, ExportLogsServiceRequest)))
                except MalformedOTLP as error:
                    raise _refusal(file, line, " ".join(str(error).split())) from error
        super().__init__(spans, events, name=f"file:{file}")


def _split(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what of a request is not about logs, and what is."""
    logs = {key: value for key, value in document.items() if key in _LOGS}
    return {key: value for key, value in document.items() if key not in _LOGS}, logs


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
