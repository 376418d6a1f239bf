"""Remembers which trace context messages carried when threads of this process took them: evidence for cause lines."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handrail_propagation import tracecontext
from handrail_propagation.conventions import HEADER_TRACEPARENT

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class SeenHeader:
    """The `traceparent` of one message as it arrived."""

    value: str

    @property
    def missing(self) -> bool:
        """Whether there was none."""
        return not self.value

    @property
    def parsable(self) -> bool:
        """Whether it names a span (W3C Trace Context, section 3.2)."""
        return tracecontext.parse((self.value,), ()) is not None


class Messages:
    """The latest messages that workers in this process took, by task id; between `watch` and `close`."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, SeenHeader] = OrderedDict()

    def watch(self) -> None:
        """Begin to remember."""
        from celery.signals import task_prerun

        task_prerun.connect(self._take, weak=False, dispatch_uid=f"handrail-messages-{id(self)}")

    def close(self) -> None:
        """Forget, and look no more."""
        from celery.signals import task_prerun

        task_prerun.disconnect(dispatch_uid=f"handrail-messages-{id(self)}")
        self._seen.clear()

    def of(self, task_id: str) -> SeenHeader | None:
        """Return what a message carried, `None` for one that was not taken here."""
        return self._seen.get(task_id)

    def _take(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        request = getattr(task, "request", None)
        found = getattr(request, HEADER_TRACEPARENT, None)
        headers = getattr(request, "headers", None)
        if found is None and isinstance(headers, Mapping):
            found = next((headers[key] for key in headers if str(key).lower() == HEADER_TRACEPARENT), None)
        self._seen[task_id] = SeenHeader("" if found is None else str(found))
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
