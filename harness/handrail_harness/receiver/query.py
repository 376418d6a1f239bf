"""The query API of the running store, for `StoreSource`: a bearer token in, OTLP and JSON out.

A query first waits until everything that was acknowledged before it is indexed, so that whoever was told
that an export is safe can read it.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from handrail_harness.receiver.settings import Settings
from handrail_harness.store.store import Store

PREFIX = "/api/handrail/v1"
MAX_LIMIT = 10_000
_QUESTIONS = (
    "send JSON: a text to /runs and /roots; to /size an object of lists trace_ids (hex), run_ids, root_ids"
)


def routes(store: Store, settings: Settings, token: str) -> list[Route]:
    """Return the query routes and `/health`, which needs no token and tells nothing."""
    queries: dict[str, Callable[[Request], Response]] = {
        "/status": lambda _: JSONResponse(store.status()),
        "/traces": lambda request: JSONResponse(
            [asdict(summary) for summary in store.index.traces(_limit(request))]
        ),
        "/traces/{id}/spans": lambda request: _protobuf(store.index.trace_request(request.path_params["id"])),
        "/traces/{id}/events": lambda request: _protobuf(store.index.log_request(request.path_params["id"])),
    }
    # Ids of runs and roots are somebody's text, of any length and with any character: no part of an address.
    asked: dict[str, Callable[[Any], Any]] = {
        "/runs": lambda run_id: store.index.traces_of_run(_text(run_id)),
        "/roots": lambda root_id: store.index.traces_of_root(_text(root_id)),
        "/size": lambda names: _size(store, names),
    }

    def endpoint(query: Callable[[Request], Response], *, waits: bool) -> Any:
        def answer(request: Request) -> Response:
            if waits and not store.wait_indexed(settings.query_timeout):
                reason = store.last_error or "it is still catching up; try again"
                return PlainTextResponse(f"the index is behind: {reason}", 503)
            try:
                return query(request)
            except sqlite3.Error as error:
                return PlainTextResponse(f"the index cannot be read: {error}", 503)

        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return PlainTextResponse("a bearer token is needed", 401)
            request.state.body = await request.body()
            return await run_in_threadpool(answer, request)

        return guarded

    def about(question: Callable[[Any], Any]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            try:
                return JSONResponse(question(json.loads(request.state.body)))
            except (ValueError, KeyError, TypeError):
                return PlainTextResponse(_QUESTIONS, 400)

        return answer

    return [
        Route("/health", lambda _: PlainTextResponse("ok\n")),
        *(Route(PREFIX + path, endpoint(query, waits=path != "/status")) for path, query in queries.items()),
        *(
            Route(PREFIX + path, endpoint(about(question), waits=True), methods=["POST"])
            for path, question in asked.items()
        ),
    ]


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError("an id is a text")
    return name


def _size(store: Store, names: Any) -> dict[str, int] | None:
    size = store.index.size_of(names["trace_ids"], names["run_ids"], names["root_ids"])
    return size._asdict() if size is not None else None


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "20")
    return max(1, min(int(text) if text.isdecimal() else 20, MAX_LIMIT))


def _protobuf(message: Any) -> Response:
    return Response(message.SerializeToString(), media_type="application/x-protobuf")
