"""Providers of this process: set up once, found again by everything else in the package.

No Celery in here, and the SDK is imported only when it is set up: `import handrail_propagation` stays cheap.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry import _logs, metrics, trace
from opentelemetry._logs import Logger, LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, TracerProvider

from handrail_propagation.config import Config
from handrail_propagation.metrics import MessagingMetrics
from handrail_propagation.metrics import messaging_metrics as messaging_metrics_of
from handrail_propagation.trust import Trust, TrustPolicy

if TYPE_CHECKING:
    from celery import Celery

    from handrail_propagation.forward.here import Forwarding
    from handrail_propagation.messagetracer import MessageTracer
    from handrail_propagation.spool.processor import Recorder

_log = logging.getLogger(__name__)
_SCOPE = "handrail"


@dataclass(slots=True)
class Telemetry:
    """What `instrument()` set up or found: the three providers, and the settings they were made from."""

    tracer_provider: TracerProvider
    logger_provider: LoggerProvider
    meter_provider: MeterProvider
    config: Config
    recorder: Recorder | None = None
    """What writes to the spool, if there is one."""
    forwarding: Forwarding | None = None
    """What forwards the spool from this process, if that is its job."""
    exporting: Sequence[tuple[Any, Any]] = ()
    """Provider and processor of each exporter that was made from `OTEL_*` variables or their defaults."""
    trust_by_app: WeakKeyDictionary[Celery, TrustPolicy] | None = None
    """Policies of apps that have one of their own; `config.trust` is that of all others."""
    tracer: Tracer = field(init=False)
    messages: MessageTracer = field(init=False)
    """What starts the spans of messages, on the same tracer."""
    event_logger: Logger = field(init=False)
    is_silent: bool = field(init=False)
    """Whether there are neither spans nor metrics: context is passed on, nothing else."""
    messaging_metrics: MessagingMetrics | None = field(init=False)
    """Instruments of the messaging conventions; `None` where metrics go nowhere."""

    def __post_init__(self) -> None:
        from importlib.metadata import version

        from handrail_propagation.messagetracer import MessageTracer

        self.tracer = self.tracer_provider.get_tracer(_SCOPE, version("handrail"))
        if (generator := getattr(self.tracer, "id_generator", None)) is not None:
            from handrail_propagation.ids import ChosenIds

            if not isinstance(generator, ChosenIds):  # a provider gives the same tracer again
                vars(self.tracer)["id_generator"] = ChosenIds(generator)
        self.messages = MessageTracer(self.tracer)
        self.event_logger = self.logger_provider.get_logger(_SCOPE, version("handrail"))
        self.messaging_metrics = messaging_metrics_of(self.meter_provider, _SCOPE, version("handrail"))

        self.is_silent = self.messages.disabled and self.messaging_metrics is None

    def flush(self, timeout: float = 5.0) -> bool:
        """Export what this process has recorded, within `timeout` seconds; return whether all went out."""
        providers: list[Any] = [self.tracer_provider, self.logger_provider, self.meter_provider]
        flushes = [provider.force_flush for provider in providers if hasattr(provider, "force_flush")]
        return _within(timeout, flushes)


_current: Telemetry | None = None
_lock = threading.Lock()


def instrument(
    app: Celery | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    service_name: str | None = None,
    trust: Trust | Mapping[str, Trust] | None = None,
) -> Telemetry:
    """Trace every message that Celery sends and runs in this process and its pool children.

    One call, the same in producers and in workers of any pool; calling it again returns what the first call
    set up. Providers come from the arguments, else from OpenTelemetry's globals where an SDK provider is set,
    else they are made from the `OTEL_*` variables and become the globals. `service_name` is used where
    `OTEL_SERVICE_NAME` is not set; its default is the app's name.

    `trust` is what the trace context of incoming messages is worth, for this app before `HANDRAIL_TRUST`, without
    an app for the process: one word, or a mapping from queue names to words in which `*` is every other queue.
    Raises `ConfigurationError` for an unusable value or variable.
    """
    from handrail_propagation.instrumentor import HandrailCeleryInstrumentor

    telemetry = setup(
        tracer_provider=tracer_provider,
        logger_provider=logger_provider,
        meter_provider=meter_provider,
        service_name=service_name or _app_name(app),
    )
    if trust is not None:
        policy = TrustPolicy.of_value(trust)
        if app is None:
            telemetry.config = replace(telemetry.config, trust=policy)
        else:
            if telemetry.trust_by_app is None:
                telemetry.trust_by_app = WeakKeyDictionary()
            telemetry.trust_by_app[app] = policy
    instrumentor = HandrailCeleryInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(skip_dep_check=True)
    if app is not None:
        instrumentor.adopt(app)
    return telemetry


def uninstrument(app: Celery | None = None) -> None:
    """Undo `instrument()`: flush, take the hooks out and forget the providers (they are not shut down)."""
    from handrail_propagation.instrumentor import HandrailCeleryInstrumentor

    global _current
    instrumentor = HandrailCeleryInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    if _current is not None:
        _current.flush(_current.config.flush_timeout)
        if _current.forwarding is not None:
            _current.forwarding.finish()
    _current = None


def setup(
    *,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    service_name: str = "",
) -> Telemetry:
    """Find or make the providers without touching Celery; the first call counts."""
    global _current
    with _lock:
        if _current is None:
            from handrail_propagation.providers import build

            _current = build(
                Config.from_environment(),
                tracer_provider=tracer_provider,
                logger_provider=logger_provider,
                meter_provider=meter_provider,
                service_name=service_name,
            )
    return _current


def current() -> Telemetry | None:
    """Return what `instrument()` set up in this process, or `None`."""
    return _current


def config() -> Config:
    """Return the settings in force."""
    return _current.config if _current is not None else _DEFAULTS


def trust_of(app: Celery | None, queue: str | None) -> Trust:
    """Return what a message of a queue is worth to an app; `None` is an unknown queue, or no app."""
    if _current is None:
        return _DEFAULTS.trust.of(queue)
    policies = _current.trust_by_app
    policy = policies.get(app) if policies is not None and app is not None else None
    return (policy or _current.config.trust).of(queue)


def tracer() -> Tracer:
    """Return the tracer for agents, tools and models: of `instrument()`'s provider, else the global one."""
    return _current.tracer if _current is not None else trace.get_tracer(_SCOPE)


def get() -> Telemetry:
    """Return what `instrument()` set up in this process; set it up where that has not been done."""
    return _current or setup()


def is_silent() -> bool:
    """Whether this process makes no spans and no metrics, and only passes on what it is given."""
    return _current is not None and _current.is_silent


def messaging_metrics() -> MessagingMetrics | None:
    """Return the messaging instruments, `None` where metrics go nowhere."""
    return _current.messaging_metrics if _current is not None else None


def event_logger() -> Logger:
    """Return the logger for log-based events: of `instrument()`'s provider, else the global one."""
    return _current.event_logger if _current is not None else _logs.get_logger(_SCOPE)


def flush(timeout: float = 5.0) -> bool:
    """Export what this process has recorded, within `timeout` seconds; return whether all went out."""
    if _current is not None:
        return _current.flush(timeout)
    providers: list[Any] = [
        trace.get_tracer_provider(),
        _logs.get_logger_provider(),
        metrics.get_meter_provider(),
    ]
    return _within(
        timeout, [provider.force_flush for provider in providers if hasattr(provider, "force_flush")]
    )


_DEFAULTS = Config()


def _app_name(app: Celery | None) -> str:
    name = getattr(app, "main", None)
    return name if isinstance(name, str) and name != "__main__" else ""


def _within(timeout: float, calls: list[Any]) -> bool:
    """Run the calls one after the other in a thread; return whether all returned true in `timeout` seconds.

    The SDK's force_flush takes a time-out and ignores it (opentelemetry-python #4568).
    """
    if not calls:
        return True
    results: list[bool] = []

    def run() -> None:
        for call in calls:
            try:
                results.append(call() is not False)
            except Exception:  # noqa: BLE001 - a user's processor may raise anything; the others get their turn
                _log.warning("flush failed", exc_info=True)
                results.append(False)

    thread = threading.Thread(target=run, name="handrail-flush", daemon=True)
    thread.start()
    thread.join(timeout)
    return len(results) == len(calls) and all(results)
