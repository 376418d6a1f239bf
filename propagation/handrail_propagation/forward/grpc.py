"""OTLP over gRPC, with the endpoint, headers, certificates and time-outs of OpenTelemetry's own exporter."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo

from handrail_propagation.forward.outcome import Declined, Later, Outcome, Refused, accepted
from handrail_propagation.forward.wire import Signal

_RETRY_INFO: Final = "google.rpc.retryinfo-bin"
_STATUS: Final = "grpc-status-details-bin"
_EXHAUSTED: Final = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE)
_TOO_LARGE: Final = re.compile(r"larger than max|exceeds (the )?maximum|length too large")
"""How gRPC says that a request is too long: in Go, C++, Python and Node; in Java and .NET; in Rust (tonic)."""


class GrpcTransport:
    """Calls the export services; `exporters` are our OTLP/gRPC exporters by signal, of which the channel is used.

    Requests of the signals in `compressed` are sent with gzip.
    """

    def __init__(self, exporters: dict[Signal, Any], *, compressed: Collection[Signal]) -> None:
        self._exporters = exporters
        self._compressions = {
            signal: grpc.Compression.Gzip if signal in compressed else grpc.Compression.NoCompression
            for signal in exporters
        }

    @property
    def signals(self) -> frozenset[Signal]:
        """What this destination is sent."""
        return frozenset(self._exporters)

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Send one request and wait for its answer."""
        exporter = self._exporters[signal]
        try:
            answer = exporter._client.Export(
                body,
                timeout=exporter._timeout,
                metadata=exporter._headers,
                compression=self._compressions[signal],
            )
        except grpc.RpcError as error:
            return self._outcome(signal, exporter._endpoint, error)
        return accepted(signal, answer.SerializeToString())

    def _outcome(self, signal: Signal, endpoint: str, error: Any) -> Outcome:
        code = error.code()
        detail = str(error.details() or "")[:200]
        reason = f"{endpoint}: {code.name} {detail}".rstrip()
        if signal is Signal.LOGS and code is grpc.StatusCode.UNIMPLEMENTED:
            return Declined(reason)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return Refused(reason)
        after = _retry_after(error)
        if code in _EXHAUSTED and after is None and _TOO_LARGE.search(detail):
            return Refused(reason)
        return Later(reason, after)

    def close(self) -> None:
        """Close its channels."""
        for exporter in self._exporters.values():
            exporter.shutdown()


def _retry_after(error: Any) -> float | None:
    """Return the seconds of a `RetryInfo`, in the trailer of its own or in the status details; else `None`."""
    trailer = dict(error.trailing_metadata() or ())
    try:
        if _RETRY_INFO in trailer:
            return _seconds(RetryInfo.FromString(trailer[_RETRY_INFO]))
        if _STATUS in trailer:
            from google.rpc.status_pb2 import Status

            for detail in Status.FromString(trailer[_STATUS]).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return _seconds(info)
    except DecodeError:
        return None
    return None


def _seconds(info: Any) -> float:
    return max(float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9), 0.0)
