"""The span of a message: the SDK's, made without the copies and checks that ours does not need."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Span, Tracer
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)

_log = logging.getLogger(__name__)
_UNSET: Final = Status(StatusCode.UNSET)
_PLAIN: Final = frozenset({str, bool, int, float})
"""Types of values that need no cleaning."""
_FEW: Final = 8
"""Attributes that are kept beside those of the template, so that both together are far from any limit."""
FRESH: Final = 10
"""How many fields a `MessageSpan` has that nobody has looked at or changed."""
Links = Sequence[tuple[SpanContext, Mapping[str, Any]]]


class SpanTemplate:
    """What many spans of messages have in common: name, kind, and the attributes in `shared`.

    `expand` makes the attributes of one span out of its details. It is called when somebody looks at them, once at
    most, and returns names that are not in `shared` with values that are a `str`, `bool`, `int` or `float`. `encode`
    makes the same attributes as OTLP fields, in pieces, where the details are usual, else `None`.
    """

    __slots__ = ("encode", "encoded", "expand", "kind", "name", "shared")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        shared: Mapping[str, Any],
        expand: Callable[[Any], dict[str, Any]],
        encode: Callable[[Any], Sequence[bytes] | None] = lambda _: None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.shared = shared
        self.expand = expand
        self.encode = encode
        self.encoded: tuple[bytes, bytes] | None = None
        """Name and kind, and the shared attributes, once somebody has encoded them."""


class MessageSpan(Span):
    """An SDK span that is what its template says, and makes the rest of its fields when somebody looks at them."""

    _end_time: int | None = None
    _status: Status = _UNSET
    _trace_config = None
    _record_exception = True
    _set_status_on_exception = True
    _record_end_metrics = None
    _started: bytes | None = None
    """The encoded span as it started, where somebody keeps it."""

    def begin(
        self,
        tracer: Tracer,
        template: SpanTemplate,
        context: SpanContext,
        parent: SpanContext | None,
        details: object,
        links: Links,
        start_time: int,
        ends: Sequence[Callable[[Any], None]],
    ) -> None:
        """Set the fields, in place of the SDK's `__init__`; for those of the SDK see `sdkmakes` and `__getattr__`."""
        self._context = context
        self._parent = parent
        self._start_time = start_time
        self._resource = tracer.resource
        self._instrumentation_scope = tracer._instrumentation_scope
        self._tracer = tracer
        self._template = template
        self._details = details
        self._given = links
        self._ends = ends

    def __getattr__(self, name: str) -> Any:
        make = _MAKE.get(name)
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name == "_attributes":
            with self._lock:  # against set_attribute
                return vars(self).setdefault(name, make(self))
        return vars(self).setdefault(name, make(self))  # several threads may be the first to ask

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute, as the SDK does."""
        if type(value) in _PLAIN and type(key) is str and key:
            with self._lock:
                mine = self.__dict__
                if "_attributes" not in mine and "_end_time" not in mine:
                    later: dict[str, Any] = mine.setdefault("_later", {})
                    if len(later) < _FEW:
                        set_later(later, {key: value})
                        return
        super().set_attribute(key, value)

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it to the processors; from then on it does not change."""
        now = time_ns() if end_time is None else end_time
        mine = self.__dict__
        if mine.setdefault("_end_time", now) is not now:  # one operation, so that one thread ends the span
            _log.warning("Calling end() on an ended span.")
            return
        if (
            "_lock" in mine
        ):  # else nobody has changed the span, and who begins to do so now sees that it has ended
            with self._lock:
                if "_attributes" in mine:
                    mine["_attributes"]._immutable = True
        for end in self._ends:
            end(self)

    def end_with(self, key: str, value: str) -> None:
        """Set an attribute that no span of a message starts with, and end the span."""
        mine = self.__dict__
        if "_end_time" not in mine:
            later: dict[str, Any] = {key: value}
            # Whoever else reads or sets attributes makes the lock first: where there is none, nobody is at it
            if "_lock" in mine or mine.setdefault("_later", later) is not later or "_lock" in mine:
                self.set_attribute(key, value)
        self.end()


def _bounded(span: MessageSpan) -> BoundedAttributes:
    attributes = BoundedAttributes(span._limits.max_span_attributes, None, immutable=False)
    attributes._dict = {**span._template.shared, **span._template.expand(span._details)}
    set_later(attributes._dict, vars(span).get("_later"))
    attributes._immutable = span._end_time is not None
    return attributes


def set_later(attributes: dict[str, Any], later: Mapping[str, Any] | None) -> None:
    """Set attributes as the SDK does: one that is there already moves to the end."""
    for key, value in later.items() if later else ():
        attributes.pop(key, None)
        attributes[key] = value


_MAKE: Final[dict[str, Callable[[MessageSpan], Any]]] = {
    "_attributes": _bounded,
    "_events": lambda span: BoundedList(span._limits.max_events),
    "_instrumentation_info": lambda span: span._tracer.instrumentation_info,
    "_kind": lambda span: span._template.kind,
    "_limits": lambda span: span._tracer._span_limits,
    "_links": lambda span: BoundedList.from_seq(
        span._limits.max_links, [Link(*link) for link in span._given]
    ),
    "_lock": lambda _: threading.RLock(),
    "_name": lambda span: span._template.name,
    "_sampler": lambda span: span._tracer.sampler,
    "_span_processor": lambda span: span._tracer.span_processor,
}
