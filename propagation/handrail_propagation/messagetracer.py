"""Starts the spans of messages.

Limits, samplers, id generators and the provider's processors are honoured. Where one of them is of a make that is not
known (see `sdkmakes`), the SDK's own tracer makes the span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    SpanProcessor,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import Tracer as ApiTracer

from handrail_propagation.ids import ChosenIds, chosen_ids, unpack
from handrail_propagation.messagespan import Links, MessageSpan, SpanTemplate
from handrail_propagation.processor import RunIdProcessor
from handrail_propagation.sdkmakes import decisions_of, fields_are_known, is_known
from handrail_propagation.tracecontext import span_context

_new: Any = object.__new__  # the SDK's `__new__` only keeps its own `Span` from being made
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
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


class MessageTracer:
    """Starts the spans of messages on a tracer, whatever that is."""

    def __init__(self, tracer: ApiTracer) -> None:
        self._tracer: Any = tracer
        self.disabled = isinstance(tracer, NoOpTracer)
        """Whether there are no spans, whatever the sampler says."""
        self._is_known = fields_are_known() and is_known(tracer)
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
            self._sampler, self._decisions = tracer.sampler, decisions_of(tracer.sampler)
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
