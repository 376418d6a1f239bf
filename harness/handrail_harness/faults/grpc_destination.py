"""An OTLP/gRPC destination that misbehaves: the behaviours of the one over HTTP, with gRPC's words for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from handrail_harness.faults.behaviour import Behaviour
from handrail_harness.faults.misbehaving import Misbehaving

_PATHS: Final = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "/v1/traces",
    "opentelemetry.proto.collector.logs.v1.LogsService": "/v1/logs",
}
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""A behaviour's status in gRPC (google/rpc/code.proto). 404 is a service that is not there: UNIMPLEMENTED."""
_DETAILS: Final = "grpc-status-details-bin"
_THREADS: Final = 8


class FaultyGrpcDestination(Misbehaving):
    """Collects what it takes over gRPC, and answers as it is told; a context manager.

        with FaultyGrpcDestination() as destination:
            destination.then(THROTTLE, PARTIAL)    # RESOURCE_EXHAUSTED with RetryInfo; then one record rejected

    Behaviours are those of `FaultyDestination`: a status of HTTP is answered as the code that means the same,
    Retry-After as `RetryInfo`, `answers=False` as a stream that is reset. `max_bytes` is the largest request that
    gRPC itself lets in (default: its own 4 MiB). `endpoint` is a `grpc://` URL on loopback; a stock exporter takes
    the same with `http://`.
    """

    def __init__(self, *, max_bytes: int = 4 << 20) -> None:
        super().__init__()
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="faulty-grpc"),
            options=[("grpc.max_receive_message_length", max_bytes), ("grpc.so_reuseport", 0)],
        )
        for service, path in _PATHS.items():
            handler = grpc.unary_unary_rpc_method_handler(
                lambda body, call, path=path: self._export(path, body, call)
            )
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {"Export": handler}),)
            )
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def endpoint(self) -> str:
        """URL without a path."""
        return f"grpc://127.0.0.1:{self._port}"

    def _export(self, path: str, body: bytes, call: Any) -> bytes:
        now, content = self._treat(path, body)
        if not self._is_answered(now):
            ended = threading.Event()
            if call.add_callback(ended.set):
                call.cancel()
                ended.wait()
            return b""
        if now.status != 200:
            _fail(call, now)
        return content

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.stop(grace=None).wait(5)


def _fail(call: Any, now: Behaviour) -> None:
    """End a call as failed; raises, as gRPC has it."""
    code = _CODES[now.status]
    message = f"{code.name.lower()} on purpose"
    if now.retry_after:
        retry = any_pb2.Any()
        retry.Pack(RetryInfo(retry_delay=duration_pb2.Duration(seconds=int(now.retry_after))))
        status = Status(code=code.value[0], message=message, details=[retry])
        call.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    call.abort(code, message)
