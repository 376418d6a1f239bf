"""OTLP-JSON files: every form found in the wild is read, everything else is one line with its number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from handrail_harness.errors import SourceError
from handrail_harness.sources import open_source
from handrail_harness.sources.otlpfile import OTLPFileSource

TRACE = "0af7651916cd43dd8448eb211c80319c"


def traces(span_id: str = "b7ad6b7169203331", **fields: Any) -> dict[str, Any]:
    span = {
        "traceId": TRACE,
        "spanId": span_id,
        "name": "s",
        "kind": 4,
        "startTimeUnixNano": "1790000000000000000",
        "endTimeUnixNano": "1790000000000000001",
        "attributes": [{"key": "agent.run.id", "value": {"stringValue": "r"}}],
    } | fields
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def logs() -> dict[str, Any]:
    record = {
        "traceId": TRACE,
        "spanId": "b7ad6b7169203331",
        "eventName": "agent.decision",
        "timeUnixNano": "1",
    }
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}


def written(path: Path, *lines: Any) -> OTLPFileSource:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return OTLPFileSource(path)


def test_lines_of_traces_and_logs(tmp_path: Path) -> None:
    """One request a line, spans and log events mixed, empty lines between them."""
    source = written(tmp_path / "f", traces(), "", logs(), traces("b7ad6b7169203332"))
    assert [span.span_id for span in source.spans(TRACE)] == ["b7ad6b7169203331", "b7ad6b7169203332"]
    assert [event.event_name for event in source.events(TRACE)] == ["agent.decision"]
    assert source.traces_of_run("r") == [TRACE]
    assert [(one.trace_id, one.spans, one.run_id) for one in source.traces()] == [(TRACE, 2, "r")]
    assert source.spans("f" * 32) == []


def test_duplicates_are_kept(tmp_path: Path) -> None:
    """A span that is in the file twice is read twice."""
    assert len(written(tmp_path / "f", traces(), traces()).spans(TRACE)) == 2


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"result": one}, lambda one: [one]])
def test_one_pretty_printed_document(tmp_path: Path, wrap: Any) -> None:
    """A file that is one JSON value over many lines: a request, an answer of Jaeger, a list of requests."""
    source = written(tmp_path / "f", json.dumps(wrap(traces()), indent=2))
    assert len(source.spans(TRACE)) == 1


def test_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    """Compressed files and files with a byte order mark are read as well."""
    path = tmp_path / "f.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(traces()).encode()))
    assert len(OTLPFileSource(path).spans(TRACE)) == 1


def test_named_through_open_source(tmp_path: Path) -> None:
    """`file:PATH` opens it, and the source's name says so."""
    path = tmp_path / "f"
    written(path, traces())
    source = open_source(f"file:{path}")
    assert source.name == f"file:{path}"
    source.close()


BAD = {
    "nothing": b"",
    "blank": b"\n \n",
    "prose": b"dear diary\nsecond line\n",
    "binary": b"\x00\xff\xfe\x80 protobuf perhaps",
    "other json": b'{"hello": "world"}\n',
    "number": b"42\n",
    "wrong types": json.dumps(traces(name=[1, 2])).encode(),
    "id is no hex": json.dumps(traces(spanId="zz")).encode(),
    "time is no number": json.dumps(traces(startTimeUnixNano="yesterday")).encode(),
    "negative time": json.dumps(traces(startTimeUnixNano="-5")).encode(),
    "spans is a string": b'{"resourceSpans": "all of them"}',
    "surrogate": json.dumps(traces(name="\ud800")).encode(),
    "deep": b'{"resourceSpans": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "broken gzip": b"\x1f\x8b\x08\x00broken",
    "nan": b'{"resourceSpans": NaN}',
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_is_no_otlp_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    """No traceback, no line break, no control character: the path and what is wrong."""
    path = tmp_path / "spans.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError) as error:
        OTLPFileSource(path)
    message = str(error.value)
    assert str(path) in message
    assert message.isprintable()


def test_the_line_number_is_given(tmp_path: Path) -> None:
    """A bad line among good ones is named by its number."""
    with pytest.raises(SourceError, match=r"f line 3: not JSON"):
        written(tmp_path / "f", traces(), traces(), "oops")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """A path that is not there, or no file, says so."""
    with pytest.raises(SourceError, match="there is no file"):
        OTLPFileSource(tmp_path / "none")
    with pytest.raises(SourceError, match="cannot read"):
        OTLPFileSource(tmp_path)


@pytest.mark.parametrize("name", ["", "jaeger", "jaeger:", "file:", "spans.jsonl", "http://host", "store:x"])
def test_unknown_sources_are_refused(name: str) -> None:
    """A name that is no source lists what there is."""
    with pytest.raises(SourceError, match="use store, file:PATH or jaeger:URL"):
        open_source(name)
