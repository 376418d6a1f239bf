"""Which makes of the SDK's parts are known well enough to do without what they do for every span.

What is not known costs speed, not spans. The fields are those of SDK 1.45.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SynchronousMultiSpanProcessor, Tracer, _Span
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, StaticSampler
from opentelemetry.trace import SpanContext

from handrail_propagation.spool.gated import RecordGated


def is_known(tracer: Any) -> bool:
    """Whether a tracer is the SDK's, with nothing in it that spans of messages leave out."""
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


def decisions_of(sampler: Any) -> tuple[bool, ...] | None:
    """Return what a sampler always decides, `None` for one that has to be asked each time.

    In the order: no parent; local parent, not sampled and sampled; remote parent, not sampled and sampled.
    """
    if type(sampler) is RecordGated:  # which has nothing to say about messages
        return decisions_of(sampler.inner)
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


def fields_are_known() -> bool:
    """Whether the installed SDK's spans have just the fields that a `MessageSpan` has."""
    context = SpanContext(1, 2, is_remote=False)
    limits, resource = SpanLimits(), Resource.get_empty()
    span = _Span("of the SDK", context, limits=limits, resource=resource)
    return frozenset(vars(span)) == _FIELDS and len(context) == 6 and context[5] is True
