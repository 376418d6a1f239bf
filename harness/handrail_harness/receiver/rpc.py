"""OTLP over gRPC: the same intake as HTTP; requests are taken as bytes and stored as they came."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from handrail_harness.errors import StackError
from handrail_harness.otlp import MalformedOTLP
from handrail_harness.receiver.http import RETRY_AFTER
from handrail_harness.receiver.intake import take
from handrail_harness.receiver.settings import Settings
from handrail_harness.store.base import Encoding, Kind
from handrail_harness.store.rawlog import LogUnavailable
from handrail_harness.store.store import Store

_SERVICES = {
    Kind.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Kind.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Kind.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_THREADS = 8  # exports that share one sync


class GrpcReceiver:
    """The three export services on one port; `port` is the one that was bound.

    Raises `StackError` when the port is taken.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="handrail-grpc"),
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.so_reuseport", 0),  # else a second receiver would silently share the port
            ],
            maximum_concurrent_rpcs=settings.max_exports,
        )
        for kind, service in _SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(self._exporter(kind))
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {"Export": handler}),)
            )
        try:
            self.port: int = self._server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
        except RuntimeError:
            raise StackError(
                f"port {settings.grpc_port} on {settings.host} is taken; "
                "stop what listens there, or choose another with --grpc-port (0 takes a free one)"
            ) from None

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self) -> None:
        """Refuse new calls, let the running ones end within a second."""
        self._server.stop(grace=1).wait(5)

    def _exporter(self, kind: Kind) -> Any:
        def export(body: bytes, call: grpc.ServicerContext) -> bytes:
            try:
                durable = take(self._store, kind, Encoding.PROTOBUF, body)
                durable.result(self._settings.durable_timeout)
            except MalformedOTLP as error:
                call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:1000])
            except LogUnavailable as error:
                _unavailable(call, str(error)[:1000])
            except FutureTimeout:
                durable.cancel()
                _unavailable(call, "the disk is too slow")
            return b""  # an Export…Response without partial_success

        return export


def _unavailable(call: grpc.ServicerContext, message: str) -> NoReturn:
    """Answer UNAVAILABLE and when to try again (OTLP specification, "OTLP/gRPC Throttling")."""
    retry = any_pb2.Any()
    retry.Pack(RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_AFTER)))
    status = Status(code=code_pb2.UNAVAILABLE, message=message, details=[retry])
    call.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    call.abort(grpc.StatusCode.UNAVAILABLE, message)
    raise AssertionError("unreachable")  # abort always raises
