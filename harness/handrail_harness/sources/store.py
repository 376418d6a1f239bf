"""Reads the embedded store: through the running `handrail serve`, or its files when none runs.

Either way, what was acknowledged before the question is in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness import keptalive
from handrail_harness.errors import SourceError, StackError
from handrail_harness.otlp import MalformedOTLP, Request, events_of, parse_protobuf, spans_of
from handrail_harness.sizes import RunSize
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_harness.store.index import FILE_NAME
from handrail_harness.store.location import (
    DATA_DIR_VARIABLE,
    DirectoryLock,
    ServerState,
    StoreBusy,
    default_data_dir,
)
from handrail_harness.store.store import RAW, Store

if TYPE_CHECKING:
    import httpx

_PREFIX = "/api/handrail/v1"
_TIMEOUT = 30.0  # seconds for an answer; the server waits up to 20 for its index
_CATCH_UP = 120.0  # seconds for bringing an index up to date without a server
_BUSY = 5.0  # seconds that a server may take from its lock to its first answer


class StoreSource:
    """The store in `data_dir` as a `Source`; `open()` chooses how to reach it."""

    name = "store"

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._client: httpx.Client | None = None
        self._store: Store | None = None

    @classmethod
    def open(cls, data_dir: Path | None = None) -> StoreSource:
        """Open the store in `data_dir`; default: `HANDRAIL_DATA_DIR` or the platform's user data folder.

        Raises `SourceError`, saying what to start, when there is no store or it cannot be read.
        """
        source = cls(data_dir or default_data_dir())
        lock = DirectoryLock(source.data_dir)
        deadline = time.monotonic() + _BUSY
        while True:
            # Who holds the lock is the server. Without that, what its state file says is of a dead one, and
            # somebody else may listen on its port.
            try:
                if lock.is_held():
                    if source._connect():
                        return source
                else:
                    source._open_files()
                    return source
            except StoreBusy:
                pass  # a server started in between
            except (StackError, OSError) as error:
                raise SourceError(f"the store cannot be read: {error}") from error
            if time.monotonic() >= deadline:
                raise SourceError(
                    f"a process has {source.data_dir} but does not answer; see what it printed, or stop it"
                )
            time.sleep(0.1)

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace in the order of their arrival; empty when there are none (yet)."""
        if self._store:
            return self._store.index.spans(trace_id)
        path = f"/traces/{quote(trace_id, safe='')}/spans"
        return list(spans_of(self._get_otlp(path, ExportTraceServiceRequest)))

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return the log-based events of one trace in the order of their arrival."""
        if self._store:
            return self._store.index.events(trace_id)
        path = f"/traces/{quote(trace_id, safe='')}/events"
        return list(events_of(self._get_otlp(path, ExportLogsServiceRequest)))

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.run.id`, oldest first."""
        if self._store:
            return self._store.index.traces_of_run(run_id)
        return self._ids("/runs", run_id)

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.message.root_id`, oldest first."""
        if self._store:
            return self._store.index.traces_of_root(root_id)
        return self._ids("/roots", root_id)

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        if self._store:
            return self._store.index.traces(limit)
        return [TraceSummary(**line) for line in self._get(f"/traces?limit={limit}").json()]

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """Return how much there is of a run now; `None` for one of very many traces."""
        if self._store:
            return self._store.index.size_of(trace_ids, run_ids, root_ids)
        asked = {"trace_ids": list(trace_ids), "run_ids": list(run_ids), "root_ids": list(root_ids)}
        size = self._answer("POST", "/size", json=asked).json()
        return None if size is None else RunSize(**size)

    def status(self) -> dict[str, Any]:
        """Return the store's counts, damaged places and present errors (see `Store.status`)."""
        if self._store:
            return self._store.status()
        document: dict[str, Any] = self._get("/status").json()
        return document

    def close(self) -> None:
        """Release the connection or the files. May be called twice."""
        if self._client:
            self._client.close()
        self._client = self._store = None

    def _connect(self) -> bool:
        """Connect to the server that holds the directory; return whether one answers."""
        import httpx

        state = ServerState.read(self.data_dir)
        if state is None:
            return False
        client = httpx.Client(
            base_url=state.http_url + _PREFIX,
            headers={"Authorization": f"Bearer {state.token}"},
            timeout=_TIMEOUT,
            trust_env=False,  # never through a proxy: it is this machine
        )
        try:
            if client.get("/status", timeout=5).status_code == 200:
                self._client = client
                return True
        except httpx.HTTPError:
            pass
        client.close()
        return False

    def _open_files(self) -> None:
        """Catch the index up under the lock, then read without it; raises `StoreBusy`."""
        if not (self.data_dir / RAW).is_dir() and not (self.data_dir / FILE_NAME).exists():
            raise SourceError(
                f"no store in {self.data_dir}; start one with `handrail serve` or `handrail up`, "
                f"or set {DATA_DIR_VARIABLE}"
            )
        store = Store(self.data_dir, lambda line: None)
        try:
            caught_up = store.wait_indexed(_CATCH_UP)
            reason = store.last_error or "there is much to catch up with; start `handrail serve`"
        finally:
            store.close()
        if not caught_up:
            raise SourceError(f"the store in {self.data_dir} could not be indexed: {reason}")
        self._store = store  # its index opens a connection for each read, also after this

    def _get(self, path: str) -> httpx.Response:
        return self._answer("GET", path)

    def _answer(self, method: str, path: str, **content: Any) -> httpx.Response:
        import httpx

        if self._client is None:
            raise SourceError("the store is closed; open it again")
        try:
            answer = keptalive.request(self._client, method, path, **content)
        except httpx.HTTPError as error:
            raise SourceError(
                f"`handrail serve` at {self._client.base_url.host}:{self._client.base_url.port} "
                f"no longer answers ({error}); start it again"
            ) from error
        if answer.status_code != 200:
            detail = " ".join(answer.text.split())[:200]
            raise SourceError(f"`handrail serve` answered {answer.status_code}: {detail}")
        return answer

    def _ids(self, path: str, name: str) -> list[str]:
        found: list[str] = self._answer("POST", path, json=name).json()
        return found

    def _get_otlp(self, path: str, request: type[Request]) -> Request:
        try:
            return parse_protobuf(self._get(path).content, request)
        except MalformedOTLP as error:
            raise SourceError(f"`handrail serve` answered something else than OTLP: {error}") from error
