"""OTLP over HTTP: protobuf and JSON, answered as the OTLP specification ("OTLP/HTTP") says.

An export is answered 200 only once it is durable. What may work later is 503 with Retry-After; what never
will is 4xx.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from handrail_harness.otlp import MalformedOTLP
from handrail_harness.receiver import body
from handrail_harness.receiver.intake import take
from handrail_harness.receiver.settings import Settings
from handrail_harness.store.base import Encoding, Kind
from handrail_harness.store.rawlog import LogUnavailable
from handrail_harness.store.store import Store

PATHS = {"/v1/traces": Kind.TRACES, "/v1/logs": Kind.LOGS, "/v1/metrics": Kind.METRICS}
RETRY_AFTER = 1  # seconds
_ENCODINGS = {"application/x-protobuf": Encoding.PROTOBUF, "application/json": Encoding.JSON}
_MEDIA = {encoding: media for media, encoding in _ENCODINGS.items()}
_INLINE_BYTES = 64 << 10  # larger bodies, and JSON, are parsed outside the event loop's thread
_CODES = {
    HTTPStatus.BAD_REQUEST: code_pb2.INVALID_ARGUMENT,
    HTTPStatus.REQUEST_TIMEOUT: code_pb2.DEADLINE_EXCEEDED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: code_pb2.RESOURCE_EXHAUSTED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: code_pb2.INVALID_ARGUMENT,
    HTTPStatus.SERVICE_UNAVAILABLE: code_pb2.UNAVAILABLE,
}


class Refusal(Exception):
    """An answer other than 200, with its reason for the exporter's log."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def routes(store: Store, settings: Settings) -> list[Route]:
    """Return the three export routes."""
    intake = _Intake(store, settings)
    return [Route(path, intake.endpoint(kind), methods=["POST"]) for path, kind in PATHS.items()]


class _Intake:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._active = 0

    def endpoint(self, kind: Kind) -> Callable[[Request], Awaitable[Response]]:
        async def export(request: Request) -> Response:
            media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            encoding = _ENCODINGS.get(media)
            try:
                if encoding is None:
                    raise Refusal(
                        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                        f"content type {media!r}; send application/x-protobuf or application/json",
                    )
                await self._take(request, kind, encoding)
            except Refusal as refusal:
                return _refused(refusal, encoding)
            content = (
                b"{}" if encoding is Encoding.JSON else b""
            )  # an Export…Response without partial_success
            return Response(content, media_type=_MEDIA[encoding])

        return export

    async def _take(self, request: Request, kind: Kind, encoding: Encoding) -> None:
        if self._active >= self._settings.max_exports:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many exports at the same time")
        self._active += 1
        try:
            await self._store_body(request, kind, encoding)
        except body.BodyTooLarge:
            limit = self._settings.max_body_bytes
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"exports are limited to {limit} bytes unpacked"
            ) from None
        except (MalformedOTLP, body.BodyUnusable) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
        except LogUnavailable as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except ClientDisconnect:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the exporter hung up") from None
        finally:
            self._active -= 1

    async def _store_body(self, request: Request, kind: Kind, encoding: Encoding) -> None:
        packing = request.headers.get("content-encoding", "identity").strip().lower()
        if packing not in ("identity", "gzip", ""):
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"content encoding {packing!r}; send gzip or none"
            )
        limit = self._settings.max_body_bytes
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                received = await body.read(request, limit)
        except TimeoutError:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from None

        def unpack_and_take() -> asyncio.Future[int]:
            unpacked = body.gunzip(received, limit) if packing == "gzip" else received
            return asyncio.wrap_future(take(self._store, kind, encoding, unpacked), loop=loop)

        loop = asyncio.get_running_loop()
        if len(received) <= _INLINE_BYTES and encoding is Encoding.PROTOBUF:
            durable = unpack_and_take()
        else:
            durable = await run_in_threadpool(unpack_and_take)
        try:
            await asyncio.wait_for(durable, self._settings.durable_timeout)
        except TimeoutError:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the disk is too slow") from None


def _refused(refusal: Refusal, encoding: Encoding | None) -> Response:
    code, message = _CODES[refusal.status], str(refusal)[:1000]
    headers = {}
    if refusal.status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER)
    if refusal.status is not HTTPStatus.BAD_REQUEST:
        headers["Connection"] = "close"  # the rest of the body may still be under way
    if encoding is Encoding.PROTOBUF:
        content = Status(code=code, message=message).SerializeToString()
    else:
        content = json.dumps({"code": code, "message": message}).encode()
    return Response(content, refusal.status, headers, _MEDIA[encoding or Encoding.JSON])
