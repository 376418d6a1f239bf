"""Settings of this package: one typed table, read once from the environment by `instrument()`.

`OTEL_*` variables come first; a variable of our own exists only where OpenTelemetry has none. What the SDK
reads by itself (endpoints, headers, `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, span
limits) is left to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args

from handrail_propagation.conventions import BAGGAGE_RUN_ID, CAPTURE_CONTENT_VARIABLE
from handrail_propagation.errors import ConfigurationError
from handrail_propagation.trust import TrustPolicy

Protocol = Literal["http/protobuf", "grpc"]
Forward = Literal["worker", "none"]
Capture = Literal["NO_CONTENT", "EVENT_ONLY"]


def _setting(*variables: str, default: Any, doc: str) -> Any:
    return field(default=default, metadata={"variables": variables, "doc": doc})


@dataclass(frozen=True, slots=True)
class Config:
    """What `instrument()` does; each field names the variables that set it, the first one present wins."""

    disabled: bool = _setting(
        "OTEL_SDK_DISABLED",
        default=False,
        doc="No spans, events or metrics; headers still pass from hop to hop.",
    )
    traces_exporter: tuple[str, ...] = _setting(
        "OTEL_TRACES_EXPORTER",
        default=("otlp",),
        doc="Where spans go: `otlp`, `console`, `none`, or the names of installed exporters.",
    )
    logs_exporter: tuple[str, ...] = _setting(
        "OTEL_LOGS_EXPORTER", default=("otlp",), doc="Where log-based events (decision records) go."
    )
    metrics_exporter: tuple[str, ...] = _setting(
        "OTEL_METRICS_EXPORTER",
        default=(),
        doc="Where metrics go. Off unless asked for, since each pool child exports its own.",
    )
    traces_protocol: Protocol = _setting(  # noqa: RUF009
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        default="http/protobuf",
        doc="OTLP transport of spans: `http/protobuf` or `grpc`.",
    )
    logs_protocol: Protocol = _setting(  # noqa: RUF009
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        default="http/protobuf",
        doc="OTLP transport of events: `http/protobuf` or `grpc`.",
    )
    metrics_protocol: Protocol = _setting(  # noqa: RUF009
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        default="http/protobuf",
        doc="OTLP transport of metrics: `http/protobuf` or `grpc`.",
    )
    service_name: str = _setting(
        "OTEL_SERVICE_NAME", default="", doc="`service.name`; when unset, the Celery app's name."
    )
    flush_timeout: float = _setting(
        "HANDRAIL_FLUSH_TIMEOUT",
        default=5.0,
        doc="Seconds that a stopping process may spend on its last export.",
    )
    trust: TrustPolicy = _setting(  # noqa: RUF009
        "HANDRAIL_TRUST",
        default=TrustPolicy(),
        doc="What a consumer does with the trace context of a message: `continue` it, `restart` (a new trace "
        "with a link to the claimed one) or `drop` it; per queue as in `restart, orders=continue`.",
    )
    baggage_keys: tuple[str, ...] = _setting(
        "HANDRAIL_BAGGAGE_KEYS",
        default=(BAGGAGE_RUN_ID,),
        doc="Baggage entries that go into and come out of message headers, comma-separated.",
    )
    span_events: bool = _setting(
        "HANDRAIL_SPAN_EVENTS",
        default=True,
        doc="Whether an event is also added to its span, for stores that keep no logs (Jaeger).",
    )
    capture_content: Capture = _setting(  # noqa: RUF009
        CAPTURE_CONTENT_VARIABLE,
        default="NO_CONTENT",
        doc="Whether prompts, answers, tool arguments and results leave this process: `NO_CONTENT`, or "
        "`EVENT_ONLY`, redacted, as log-based events; never on spans.",
    )

    spool_dir: str = _setting(
        "HANDRAIL_SPOOL_DIR",
        default="",
        doc="Folder for span starts, span ends and decision records, written before anything is done and "
        "forwarded from there; when unset, processes export by themselves.",
    )
    spool_max_size: int = _setting(
        "HANDRAIL_SPOOL_MAX_SIZE",
        default=256 << 20,
        doc="Bytes (or KiB, MiB, GiB) that the spool may take: above three quarters of it reads are dropped and "
        "counted, above seven eighths no effect is let through.",
    )
    forward: Forward = _setting(  # noqa: RUF009
        "HANDRAIL_FORWARD",
        default="worker",
        doc="Who forwards the spool: `worker`, a thread of a worker's main process or of any other process that is no "
        "pool child, one of all that share the folder; or `none` of them, since `handrail forward` does.",
    )
    forward_to: tuple[str, ...] = _setting(
        "HANDRAIL_FORWARD_TO",
        default=(),
        doc="Where the spool is forwarded to, comma-separated: `http://host:4318`, `https://…`, `grpc://host:4317`, "
        "`grpcs://…`, `file:///folder` (a mirror in OTLP/JSON lines). When unset, the one destination that "
        "`OTEL_EXPORTER_OTLP_*` name.",
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read the table from `environ` (default: `os.environ`).

        Raises `ConfigurationError`, naming the variable, for a value outside of what the table allows.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for entry in fields(cls):
            for variable in entry.metadata["variables"]:
                text = environ.get(variable, "").strip()
                if text:
                    values[entry.name] = _PARSERS[entry.name](variable, text)
                    break
        return cls(**values)


def _boolean(variable: str, text: str) -> bool:
    # OpenTelemetry, "Boolean value": anything that is not "true" is false.
    return text.lower() == "true"


def _number(variable: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ConfigurationError(f"{variable}={text!r} is not a number of seconds from 0 to 3600.")
    return value


def _size(variable: str, text: str) -> int:
    number = text.rstrip("KMGiB ")
    factor = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}.get(text[len(number) :].strip(), 0)
    if not number.isascii() or not number.isdigit() or int(number) * factor < 1 << 16:
        raise ConfigurationError(f"{variable}={text!r} is not a size of at least 64KiB, such as 256MiB.")
    return int(number) * factor


def _text(variable: str, text: str) -> str:
    return text


def _names(variable: str, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _exporters(variable: str, text: str) -> tuple[str, ...]:
    return tuple(name for name in _names(variable, text) if name.lower() != "none")


class _OneOf:
    """One of the values of a `Literal`."""

    def __init__(self, literal: Any) -> None:
        self.allowed: tuple[str, ...] = get_args(literal)

    def __call__(self, variable: str, text: str) -> str:
        if text.lower() not in self.allowed:
            raise ConfigurationError(f"{variable}={text!r} is not one of {', '.join(self.allowed)}.")
        return text.lower()


def _capture(variable: str, text: str) -> str:
    mode = text.upper()
    if mode in ("SPAN_ONLY", "SPAN_AND_EVENT"):
        raise ConfigurationError(
            f"{variable}={text!r} would put prompts and results on spans, which go wherever traces go; "
            "use EVENT_ONLY (redacted log-based events) or NO_CONTENT."
        )
    if mode not in get_args(Capture):
        raise ConfigurationError(f"{variable}={text!r} is not one of {', '.join(get_args(Capture))}.")
    return mode


_PARSERS: Final[dict[str, Any]] = {
    "disabled": _boolean,
    "traces_exporter": _exporters,
    "logs_exporter": _exporters,
    "metrics_exporter": _exporters,
    "traces_protocol": _OneOf(Protocol),
    "logs_protocol": _OneOf(Protocol),
    "metrics_protocol": _OneOf(Protocol),
    "service_name": _text,
    "flush_timeout": _number,
    "trust": TrustPolicy.parse,
    "baggage_keys": _names,
    "span_events": _boolean,
    "spool_dir": _text,
    "spool_max_size": _size,
    "forward": _OneOf(Forward),
    "forward_to": _names,
    "capture_content": _capture,
}
