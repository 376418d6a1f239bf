"""The processors that put span starts, span ends and log-based events into the spool, as they happen.

They take the place of batch processors: nothing waits in memory, there is no thread and no network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import TraceFlags

from handrail_propagation.messagespan import MessageSpan
from handrail_propagation.otlp.logs import encode_log
from handrail_propagation.otlp.messages import encode_end as end_of_message
from handrail_propagation.otlp.messages import encode_start as start_of_message
from handrail_propagation.otlp.spans import encode_plain_span
from handrail_propagation.otlp.wire import Unusual
from handrail_propagation.spool.encoding import Origins, encode_any
from handrail_propagation.spool.gated import EVENTS, is_gated
from handrail_propagation.spool.process import Spool
from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Keep, NotRecorded, Writer

if TYPE_CHECKING:
    from handrail_propagation.forward.here import Forwarding

_log = logging.getLogger(__name__)
_SAMPLED: Final = int(TraceFlags.SAMPLED)
# Not each time: a look at an Enum's member is slow
_SPAN_START, _SPAN_END, _LOG = Kind.SPAN_START, Kind.SPAN_END, Kind.LOG
_ALWAYS, _DROPPABLE = Keep.ALWAYS, Keep.DROPPABLE


@dataclass(slots=True)
class _Open:
    """A gated span that has not ended: where its records stand."""

    writer: Writer
    start: int
    decision: int = 0


class Recorder:
    """What this process records, and whether it is safe."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._origins = Origins()
        self._open: dict[int, _Open] = {}
        self._unstarted: set[int] = set()
        """Spans whose start was dropped: their end is, too, so that no half of a span is left."""

    def start(self, span: ReadableSpan) -> None:
        """Record the start of a span."""
        if type(span) is MessageSpan:
            self.start_message(span)
            return
        context = span.get_span_context()
        if context is None or not context.trace_flags & _SAMPLED:
            return
        # Not `attributes` at once: the SDK wraps them anew each time
        gated = is_gated(getattr(span, "_attributes", None) or span.attributes)
        number = self._put(_SPAN_START, encode_plain_span, span, _ALWAYS if gated else _DROPPABLE)
        if gated:
            self._open[context.span_id] = _Open(self.spool.writer(), number)
        elif not number:
            self._unstarted.add(context.span_id)

    def end(self, span: ReadableSpan) -> None:
        """Record the end of a span."""
        if type(span) is MessageSpan:
            self.end_message(span)
            return
        context = span.get_span_context()
        if context is None or not context.trace_flags & _SAMPLED:
            return
        self._open.pop(context.span_id, None)
        if not self._is_unstarted(span):
            self._put(_SPAN_END, encode_plain_span, span, _ALWAYS)

    def start_message(self, span: MessageSpan) -> None:
        """Record the start of a message's span: it is sampled, else it is none of these, and nothing of it is gated."""
        if not self._put(_SPAN_START, start_of_message, span, _DROPPABLE):
            self._unstarted.add(span.get_span_context().span_id)

    def end_message(self, span: MessageSpan) -> None:
        """Record the end of a message's span."""
        if not self._unstarted or not self._is_unstarted(span):
            self._put(_SPAN_END, end_of_message, span, _ALWAYS)

    def _is_unstarted(self, span: ReadableSpan) -> bool:
        """Whether the start of a span was dropped; its end is counted as dropped then."""
        context = span.get_span_context()
        if context is None or context.span_id not in self._unstarted:
            return False
        self._unstarted.discard(context.span_id)
        self.spool.writer().drop()
        return True

    def log(self, record: ReadWriteLogRecord) -> None:
        """Record a log-based event."""
        decision = record.log_record.event_name in EVENTS
        number = self._put(_LOG, encode_log, record, _ALWAYS if decision else _DROPPABLE)
        if decision and (opened := self._open.get(record.log_record.span_id or 0)) is not None:
            opened.decision = number

    def _put(self, kind: Kind, encode: Callable[[Any], bytes], what: Any, keep: Keep) -> int:
        spool = self.spool
        writer = spool.current or spool.writer()
        try:
            try:
                payload = encode(what)
            except Unusual:
                payload = encode_any(what)
            if type(what) is MessageSpan:
                fields = what.__dict__  # as properties they are slow
                resource, scope = fields["_resource"], fields["_instrumentation_scope"]
            else:
                resource, scope = what.resource, what.instrumentation_scope
            known = self._origins.last
            is_last = known[0] is resource and known[1] is scope
            origin = known[2] if is_last else self._origins.payload(resource, scope)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            # What OTLP cannot express; anything else, such as a soft time limit, is not ours to stop
            _log.error("a record could not be encoded: %s", type(error).__name__)
            writer.drop()
            return 0
        return writer.append(kind, payload, origin, keep)

    def before_act(self, span: ApiSpan) -> None:
        """Return when the start of `span` and its decision record are on disk; raises `NotRecorded`."""
        opened = self._open.get(span.get_span_context().span_id)
        writer = self.spool.writer()
        if opened is None or opened.writer is not writer or not opened.start:
            raise NotRecorded("the start of this call's span is not in the spool, so the call is not made.")
        if not opened.decision:
            raise NotRecorded(
                "the decision record of this call is not in the spool, so the call is not made."
            )
        writer.check_room()
        writer.sync(opened.decision)
        writer.sync(opened.start)


class SpoolSpanProcessor(SpanProcessor):
    """Records when a span starts and when it ends; `forwarding` is who ships it from this process, if anybody."""

    def __init__(self, recorder: Recorder, forwarding: Forwarding | None = None) -> None:
        self.recorder = recorder
        self.forwarding = forwarding
        # For `MessageTracer`, which makes no context then and calls these without a detour
        self.start_message = recorder.start_message
        self.end_message = recorder.end_message

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Called by the SDK when a span starts."""
        self.recorder.start(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the SDK when a span has ended."""
        self.recorder.end(span)

    def shutdown(self) -> None:
        """Say in the spool that this process ended in good order, and forward what can still be forwarded."""
        self.recorder.spool.close()
        if self.forwarding is not None:
            self.forwarding.finish()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits in here: what is recorded is in the spool; forward it, where this process does that."""
        return self.forwarding is None or self.forwarding.flush(timeout_millis / 1000)


class SpoolLogRecordProcessor(LogRecordProcessor):
    """Records log-based events, decision records among them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Called by the SDK with each event."""
        self.recorder.log(log_record)

    def shutdown(self) -> None:
        """The span processor closes the spool."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits in here."""
        return True
