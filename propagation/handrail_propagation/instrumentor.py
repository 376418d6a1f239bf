"""The Celery integration as an OpenTelemetry instrumentor, drop-in for the stock CeleryInstrumentor.

Hooks only: what a message out is lives in `publishing`, what a message in is in `delivery`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import celery.app.trace
from celery import Celery, _state, signals
from celery.app import amqp
from celery.backends.base import Backend
from kombu import Queue
from opentelemetry.instrumentation.celery import CeleryInstrumentor

from handrail_propagation import telemetry
from handrail_propagation.arguments import stop_rendering
from handrail_propagation.delivery import following_failure, traced_task
from handrail_propagation.destination import broker_system
from handrail_propagation.endings import Endings
from handrail_propagation.exporters import drop_inherited_connections
from handrail_propagation.publishing import traced_sender
from handrail_propagation.trust import noting_queue

_log = logging.getLogger(__name__)
# Celery's type stubs leave out what begins with an underscore
_amqp: Any = amqp.AMQP
_apps: Any = _state
_backend: Any = Backend
_queue: Any = Queue
_stock: Any = CeleryInstrumentor
_MARK = "_handrail_wrapped"
# Celery's modules that hold their own reference to build_tracer, besides the one that defines it
_CONSUMER_MODULE = "celery.worker.consumer.consumer"


class HandrailCeleryInstrumentor(CeleryInstrumentor):
    """Traces Celery messages with one PRODUCER span each and one CONSUMER span per delivery.

    Switched on together with the stock instrumentor, in either order, only this one acts.
    """

    # BaseInstrumentor keeps one instance per class in this attribute, and a subclass would find its parent's.
    _instance = None
    _active = False

    def __init__(self) -> None:
        if not hasattr(self, "_stock"):
            super().__init__()  # type: ignore[no-untyped-call]
            self._stock = _StockSilencer()
            self._endings = Endings(self.active)
            self._build_tracer: Callable[..., Any] = celery.app.trace.build_tracer
            self._create_task_sender: Callable[..., Any] = _amqp._create_task_sender
            self._call_task_errbacks: Callable[..., Any] = _backend._call_task_errbacks
            self._consume: Callable[..., Any] = _queue.consume
            self._render_again: Callable[[], None] | None = None

    def active(self) -> bool:
        """Whether messages are traced now; what is wrapped stays wrapped and asks here."""
        return self._active

    def adopt(self, app: Celery) -> None:
        """Wrap what an app has built before it was instrumented: its message sender, its tasks' tracers."""
        sender = vars(app.amqp).get("send_task_message") if "amqp" in vars(app) else None
        if sender is not None and not hasattr(sender, _MARK):
            vars(app.amqp)["send_task_message"] = self._wrap_sender(app, sender)
        for task in list(getattr(app, "_tasks", {}).values()):
            tracer = getattr(task, "__trace__", None)
            if tracer is not None and not hasattr(tracer, _MARK):
                task.__trace__ = self._wrap_tracer(task, tracer)

    def _instrument(self, **kwargs: Any) -> None:
        telemetry.setup(
            tracer_provider=kwargs.get("tracer_provider"),
            logger_provider=kwargs.get("logger_provider"),
            meter_provider=kwargs.get("meter_provider"),
        )
        self._stock.silence()
        self._active = True
        self._patch()
        for app in list(_apps._get_active_apps()):
            self.adopt(app)
        self._endings.connect()
        signals.worker_init.connect(_worker_starting, weak=False)
        signals.worker_ready.connect(_worker_started, weak=False)
        signals.worker_process_init.connect(_child_started, weak=False)
        signals.worker_process_shutdown.connect(_child_ending, weak=False)
        signals.worker_shutdown.connect(_worker_ending, weak=False)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._active = False
        self._endings.disconnect()
        signals.worker_init.disconnect(_worker_starting)
        signals.worker_ready.disconnect(_worker_started)
        signals.worker_process_init.disconnect(_child_started)
        signals.worker_process_shutdown.disconnect(_child_ending)
        signals.worker_shutdown.disconnect(_worker_ending)
        _amqp._create_task_sender = self._create_task_sender
        _backend._call_task_errbacks = self._call_task_errbacks
        _queue.consume = self._consume
        self._set_build_tracer(self._build_tracer)
        if self._render_again is not None:
            self._render_again()
        self._stock.restore()

    def _patch(self) -> None:
        create, build = self._create_task_sender, self._build_tracer

        @wraps(create)
        def create_task_sender(amqp: Any) -> Any:
            return self._wrap_sender(amqp.app, create(amqp))

        @wraps(build)
        def build_tracer(name: str, task: Any, *args: Any, **options: Any) -> Any:
            return self._wrap_tracer(task, build(name, task, *args, **options))

        _amqp._create_task_sender = create_task_sender
        _backend._call_task_errbacks = following_failure(self._call_task_errbacks)
        _queue.consume = noting_queue(self._consume, self.active)
        self._render_again = stop_rendering()
        self._set_build_tracer(build_tracer)

    @staticmethod
    def _set_build_tracer(build_tracer: Callable[..., Any]) -> None:
        celery.app.trace.build_tracer = build_tracer
        if (consumer := sys.modules.get(_CONSUMER_MODULE)) is not None:
            consumer.build_tracer = build_tracer  # type: ignore[attr-defined]

    def _wrap_sender(self, app: Celery, sender: Callable[..., Any]) -> Any:
        wrapped = traced_sender(app, sender, self.active)
        setattr(wrapped, _MARK, True)
        return wrapped

    def _wrap_tracer(self, task: Any, tracer: Callable[..., Any]) -> Any:
        wrapped = traced_task(
            task, lru_cache(maxsize=1)(lambda: broker_system(task.app)), tracer, self.active
        )
        setattr(wrapped, _MARK, True)
        return wrapped


class _StockSilencer:
    """Keeps the stock instrumentor from tracing the same messages, switched on before or after ours."""

    def __init__(self) -> None:
        self._instrument: Callable[..., None] = _stock._instrument
        self._held_back: tuple[CeleryInstrumentor, dict[str, Any]] | None = None

    def silence(self) -> None:
        stock = CeleryInstrumentor._instance
        if isinstance(stock, CeleryInstrumentor) and stock.is_instrumented_by_opentelemetry:
            _stock._uninstrument(stock)
            self._held_back = (stock, {})

        def hold_back(instrumentor: CeleryInstrumentor, **kwargs: Any) -> None:
            _log.debug("opentelemetry-instrumentation-celery is held back: handrail traces Celery already")
            self._held_back = (instrumentor, kwargs)

        _stock._instrument = hold_back

    def restore(self) -> None:
        _stock._instrument = self._instrument
        if self._held_back is not None and self._held_back[0].is_instrumented_by_opentelemetry:
            self._instrument(self._held_back[0], **self._held_back[1])
        self._held_back = None


def _worker_starting(**_: Any) -> None:
    """This is a worker's main process: it forwards the spool, and its pool children leave that to it."""
    if (now := telemetry.current()) is not None and now.forwarding is not None:
        now.forwarding.is_worker = True


def _worker_started(**_: Any) -> None:
    """The pool is there: from now on a thread does no harm to it."""
    now = telemetry.current()
    if now is None:
        return
    if now.forwarding is not None:
        now.forwarding.begin()
    if now.recorder is None and not now.config.disabled:
        _log.info(
            "no spool: what a killed process has not exported is lost; HANDRAIL_SPOOL_DIR keeps it (docs/spool.md)"
        )


def _worker_ending(**_: Any) -> None:
    """The pool is gone: forward what is left, and end what its children could not."""
    if (now := telemetry.current()) is not None and now.forwarding is not None:
        now.forwarding.flush(now.config.flush_timeout, final=True)
    _process_ending()


def _child_started(**_: Any) -> None:
    """A pool child has been forked: it must not write to its parent's connections."""
    if (now := telemetry.current()) is not None:
        drop_inherited_connections(now.tracer_provider)


def _process_ending(**_: Any) -> None:
    """Pool children leave by os._exit (opentelemetry-python-contrib #4916): what is not sent now is lost."""
    telemetry.flush(telemetry.config().flush_timeout)


def _child_ending(**_: Any) -> None:
    """A pool child ends in good order; what it dropped, or still holds for want of room, is to be known."""
    _process_ending()
    if (now := telemetry.current()) is not None and now.recorder is not None:
        now.recorder.spool.close()
