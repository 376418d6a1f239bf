"""What answers over gRPC mean to the forwarder."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from handrail_propagation.forward.grpc import GrpcTransport
from handrail_propagation.forward.outcome import Later, Refused
from handrail_propagation.forward.wire import Signal


class Failing(grpc.RpcError):
    """An answer, and the exporter that gets it for each request."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code, self._details = code, details
        self._client, self._headers, self._timeout, self._endpoint = self, (), 1.0, "there"

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> None:
        return None

    def Export(self, body: bytes, **options: Any) -> None:
        raise self


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5000000 vs. 4194304)"),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (5000000 vs. 4194304)"),
        ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4194304: 5000000"),
        ("RESOURCE_EXHAUSTED", "Received message exceeds the maximum configured message size."),
        ("OUT_OF_RANGE", "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
    ],
)
def test_a_request_that_is_too_long_is_told_from_a_quota(code: str, details: str) -> None:
    """Servers in Go, C++, Java, .NET and Rust say it in their own words: it is halved, and not tried for ever."""
    transport = GrpcTransport({Signal.TRACES: Failing(grpc.StatusCode[code], details)}, compressed=())
    assert isinstance(transport.send(Signal.TRACES, b""), Refused)
    quota = GrpcTransport({Signal.TRACES: Failing(grpc.StatusCode[code], "quota")}, compressed=())
    assert isinstance(quota.send(Signal.TRACES, b""), Later)
