"""An OTLP/HTTP destination that misbehaves as destinations do: above TCP, where a proxy cannot."""

from __future__ import annotations

from types import TracebackType

from handrail_harness.faults.misbehaving import Misbehaving
from handrail_harness.stack.sink import Answer, SpanSink


class FaultyDestination(Misbehaving, SpanSink):
    """Collects what it takes, and answers as it is told; a context manager.

        with FaultyDestination() as destination:
            destination.behaviour = THROTTLE       # every request from now on
            destination.then(GARBAGE, TWICE)       # the next two; after them as before

    `requests` counts all exports, taken or not; `answered` has the behaviour that each one met, in order.
    """

    def answer(self, path: str, body: bytes) -> Answer | None:
        """Treat one request."""
        now, content = self._treat(path, body)
        headers = {"Retry-After": now.retry_after} if now.retry_after else {}
        headers["Content-Type"] = "application/x-protobuf" if now.body is None else "text/html"
        return Answer(now.status, headers, content) if self._is_answered(now) else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        super().__exit__(kind, error, trace)
