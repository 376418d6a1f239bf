"""The spans of messages: the SDK's, made without the copies and checks that ours do not need.

Limits, samplers, id generators and the provider's processors are honoured. Where one of them is of a make that is not
known in here, or the SDK's spans have other fields than those of 1.45, its own tracer makes the span.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    Span,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    Tracer,
    _Span,
)
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, StaticSampler
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import Tracer as ApiTracer

from handrail_propagation.ids import ChosenIds, chosen_ids, unpack
from handrail_propagation.processor import RunIdProcessor
from handrail_propagation.spool.gated import RecordGated
from handrail_propagation.tracecontext import span_context

_log = logging.getLogger(__name__)
_new: Any = object.__new__  # the SDK's `__new__` only keeps its own `Span` from being made
_UNSET: Final = Status(StatusCode.UNSET)
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_PLAIN: Final = frozenset({str, bool, int, float})
"""Types of values that need no cleaning."""
_FEW: Final = 8
"""Attributes that are kept beside those of the template, so that both together are far from any limit."""
_QUIET: Final = frozenset(
    {
        SpanProcessor.on_start,
        SpanProcessor._on_ending,
        SpanProcessor.on_end,
        BatchSpanProcessor.on_start,
        BatchSpanProcessor._on_ending,
        SimpleSpanProcessor.on_start,
        SimpleSpanProcessor._on_ending,
        RunIdProcessor.on_start,
    }
)
"""Methods that do nothing to our spans, which have their run id already."""


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
        """Set the fields, in place of the SDK's `__init__`; for those of the SDK see `_FIELDS` and `__getattr__`."""
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


class MessageTracer:
    """Starts the spans of messages on a tracer, whatever that is."""

    def __init__(self, tracer: ApiTracer) -> None:
        self._tracer: Any = tracer
        self.disabled = isinstance(tracer, NoOpTracer)
        """Whether there are no spans, whatever the sampler says."""
        self._is_known = _fields_are_known() and _is_known(tracer)
        self._sampler: Sampler | None = None
        self._decisions: tuple[bool, ...] | None = None
        self._processors: object = None
        self._starts: Sequence[Callable[..., None]] = ()
        self._recorders: Sequence[Callable[[Any], None]] = ()
        """In place of `_starts`: what looks at no context."""
        self._ends: Sequence[Callable[[Any], None]] = ()
        generator = getattr(tracer, "id_generator", None)
        self._generator: Any = generator._inner if isinstance(generator, ChosenIds) else generator

    def start_span(
        self,
        template: SpanTemplate,
        context: Context | None,
        parent: SpanContext,
        details: object,
        links: Links = (),
        *,
        start_time: int,
        ids: bytes = b"",
    ) -> ApiSpan:
        """Start a span in `context`, whose current span is `parent`; `None` is a context with nothing else in it.

        `details` are what the template's `expand` takes, `links` pairs of context and attributes, `ids` are from
        `handrail_propagation.ids.choose`, `start_time` is in nanoseconds since 1970.
        """
        if self.disabled:
            return NonRecordingSpan(parent)
        tracer = self._tracer
        if tracer.sampler is not self._sampler:
            self._sampler, self._decisions = tracer.sampler, _decisions(tracer.sampler)
        if (
            not self._is_known
            or (decisions := self._decisions) is None
            or not tracer._tracer_config.is_enabled
        ):
            where = _only(parent) if context is None else context
            return self._stock(template, where, details, links, start_time, ids)
        trace_id, _, is_remote, parent_flags, state, is_valid = parent  # its properties are slow
        chosen = unpack(ids) if ids else None
        if is_valid:
            is_sampled = decisions[1 + 2 * is_remote + (parent_flags & _SAMPLED)]
            flags = parent_flags & _RANDOM
        else:
            is_sampled = decisions[0]
            trace_id = chosen[1] if chosen else self._generator.generate_trace_id()
            flags = _RANDOM if self._generator.is_trace_id_random() else 0
        span_id = chosen[0] if chosen else self._generator.generate_span_id()
        made = span_context(trace_id, span_id, False, flags | is_sampled, state if is_valid else None)
        if not is_sampled:
            return NonRecordingSpan(made)
        if (processors := tracer.span_processor._span_processors) is not self._processors:
            self._look_at(processors)
        span: MessageSpan = _new(MessageSpan)
        span.begin(
            tracer, template, made, parent if is_valid else None, details, links, start_time, self._ends
        )
        for record in self._recorders:
            record(span)
        if self._starts:
            where = _only(parent) if context is None else context
            for start in self._starts:
                start(span, parent_context=where)
        return span

    def _stock(
        self,
        template: SpanTemplate,
        context: Context,
        details: object,
        links: Links,
        start_time: int,
        ids: bytes,
    ) -> ApiSpan:
        with chosen_ids(ids):
            span: ApiSpan = self._tracer.start_span(
                template.name,
                context=context,
                kind=template.kind,
                attributes={**template.shared, **template.expand(details)},
                links=[Link(*link) for link in links],
                start_time=start_time,
            )
            return span

    def _look_at(self, processors: tuple[SpanProcessor, ...]) -> None:
        started = [one for one in processors if not _is_quiet(one.on_start)]
        recorders: list[Any] = [getattr(one, "start_message", None) for one in started]
        self._recorders = [] if None in recorders else recorders
        self._starts = [] if self._recorders else [one.on_start for one in started]
        self._ends = [one._on_ending for one in processors if not _is_quiet(one._on_ending)]
        self._ends += [_end_of(one) for one in processors if not _is_quiet(one.on_end)]
        self._processors = processors


def _only(parent: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), Context()) if parent.is_valid else Context()


def _end_of(processor: Any) -> Callable[[Any], None]:
    """Return what a processor does with a sampled span that has ended."""
    end: Callable[[Any], None] = getattr(processor, "end_message", processor.on_end)
    if type(processor) is BatchSpanProcessor and "on_end" not in vars(processor):
        # All that its on_end does besides is to ask whether the span is sampled
        end = getattr(getattr(processor, "_batch_processor", None), "emit", end)
    return end


def _is_quiet(method: Any) -> bool:
    return getattr(method, "__func__", None) in _QUIET


def _is_known(tracer: Any) -> bool:
    """Whether a tracer is the SDK's, with nothing in it that this module leaves out."""
    return (
        type(tracer) is Tracer
        and type(tracer._tracer_metrics) is NoOpTracerMetrics
        and type(tracer.span_processor) is SynchronousMultiSpanProcessor
        and tracer._span_limits.max_span_attribute_length is None
        and tracer._span_limits.max_attribute_length is None
        and _holds(tracer._span_limits.max_span_attributes, 32)
        and _holds(tracer._span_limits.max_link_attributes, 1)
    )


def _holds(limit: int | None, number: int) -> bool:
    return limit is None or limit >= number


def _decisions(sampler: Any) -> tuple[bool, ...] | None:
    """Return what a sampler always decides, `None` for one that has to be asked each time.

    In the order: no parent; local parent, not sampled and sampled; remote parent, not sampled and sampled.
    """
    if type(sampler) is RecordGated:  # which has nothing to say about messages
        return _decisions(sampler.inner)
    if type(sampler) is StaticSampler:
        inner: Sequence[Sampler] = (sampler,) * 5
    elif isinstance(sampler, ParentBased) and type(sampler).should_sample is ParentBased.should_sample:
        inner = (
            sampler._root,
            sampler._local_parent_not_sampled,
            sampler._local_parent_sampled,
            sampler._remote_parent_not_sampled,
            sampler._remote_parent_sampled,
        )
    else:
        return None
    known = {Decision.DROP: False, Decision.RECORD_AND_SAMPLE: True}
    found = [known.get(one._decision) if type(one) is StaticSampler else None for one in inner]
    return None if None in found else tuple(decision is True for decision in found)


_FIELDS: Final = frozenset(
    {
        "_attributes",
        "_context",
        "_end_time",
        "_events",
        "_instrumentation_info",
        "_instrumentation_scope",
        "_kind",
        "_limits",
        "_links",
        "_lock",
        "_name",
        "_parent",
        "_record_end_metrics",
        "_record_exception",
        "_resource",
        "_sampler",
        "_set_status_on_exception",
        "_span_processor",
        "_start_time",
        "_status",
        "_trace_config",
    }
)


def _fields_are_known() -> bool:
    """Whether the installed SDK's spans have just the fields that a `MessageSpan` has."""
    context = SpanContext(1, 2, is_remote=False)
    limits, resource = SpanLimits(), Resource.get_empty()
    span = _Span("of the SDK", context, limits=limits, resource=resource)
    return frozenset(vars(span)) == _FIELDS and len(context) == 6 and context[5] is True
