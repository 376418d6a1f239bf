"""What a destination made of one export request: values, since every one of them is expected.

Source: OTLP specification, "OTLP/gRPC Response", "OTLP/HTTP Response", "Partial Success".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from handrail_propagation.forward.wire import Signal


@dataclass(frozen=True, slots=True)
class Accepted:
    """Taken, but for `rejected` items that must not be sent again; which ones is not said."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: `after` is what the destination asks for in seconds, `None` when it does not say."""

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something in this request will never be taken: malformed, or too large."""

    reason: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The destination does not take this signal at all."""

    reason: str


Outcome: TypeAlias = Accepted | Later | Refused | Declined


def accepted(signal: Signal, body: bytes, *, json: bool = False) -> Accepted | Later:
    """Return what the body of a success says, in protobuf or JSON.

    Anything else has been answered by something that is no OTLP receiver, such as a login page in between: the records
    have not arrived.
    """
    response: ExportTraceServiceResponse | ExportLogsServiceResponse
    response = ExportTraceServiceResponse() if signal is Signal.TRACES else ExportLogsServiceResponse()
    try:
        if json:
            json_format.Parse(body or b"{}", response, ignore_unknown_fields=True)
        else:
            response.ParseFromString(body)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError):
        return Later(f"the answer is not OTLP: {body[:40]!r}")
    partial = response.partial_success
    rejected = (
        partial.rejected_spans
        if isinstance(partial, ExportTracePartialSuccess)
        else partial.rejected_log_records
    )
    return Accepted(max(rejected, 0), partial.error_message)
