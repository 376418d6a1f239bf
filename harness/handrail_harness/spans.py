"""The read model: spans and log events as a reader sees them, whatever store they came out of.

Plain values without behaviour. Nothing in here (or in any reader) mends a span: ids, parents and duplicates stay
exactly what the exporter wrote (DESIGN D2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from handrail_harness.looks import TRACE_FLAGS, Look, look_of
from handrail_propagation.conventions import CELERY_TASK_NAME

AttributeValue = (
    str | bool | int | float | bytes | list["AttributeValue"] | dict[str, "AttributeValue"] | None
)
Attributes = Mapping[str, AttributeValue]
SpanKind = Literal["unspecified", "internal", "server", "client", "producer", "consumer"]
StatusCode = Literal["unset", "ok", "error"]


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another span: ids as lower-case hex (32 and 16 digits)."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """An event on a span; `time_unix_nano` in nanoseconds since the epoch."""

    name: str
    time_unix_nano: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One span as stored. Ids are lower-case hex; `parent_span_id` is empty for a root; times are epoch ns.

    `look` follows from the other fields, and is worked out once, here.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: SpanKind
    start_unix_nano: int
    end_unix_nano: int
    attributes: Attributes = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    events: tuple[SpanEvent, ...] = ()
    status_code: StatusCode = "unset"
    status_message: str = ""
    trace_state: str = ""
    flags: int = 0
    resource: Attributes = field(default_factory=dict)
    scope_name: str = ""
    look: Look = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = not (self.events or self.status_message or self.trace_state or self.flags & TRACE_FLAGS)
        look = look_of(self.kind, self.scope_name, self.status_code, plain, self.name, self.attributes)
        object.__setattr__(self, "look", look)

    def text(self, key: str) -> str:
        """Return the attribute as a string, or `""` where it is absent or not a string."""
        value = self.attributes.get(key)
        return value if isinstance(value, str) else ""

    @property
    def full_name(self) -> str:
        """The name, for a person: of a message that is named after its queue, the Celery task, too."""
        task = self.text(CELERY_TASK_NAME)
        is_message = task and self.kind in ("producer", "consumer")
        return f"{self.name}, task {task}" if is_message and task not in self.name.split() else self.name

    @property
    def service(self) -> str:
        """`service.name` of the resource, or `""`."""
        value = self.resource.get("service.name")
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A log-based event (`event_name` set) in a span's context."""

    trace_id: str
    span_id: str
    event_name: str
    time_unix_nano: int
    attributes: Attributes = field(default_factory=dict)
    resource: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A line of a list of traces: what a person picks one by."""

    trace_id: str
    run_id: str
    root_name: str
    start_unix_nano: int
    end_unix_nano: int
    spans: int
