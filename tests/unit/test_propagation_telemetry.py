"""Providers are found or made once, events and run ids reach them, and OTEL_* decides where things go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from handrail_propagation import conventions as names
from handrail_propagation import (
    current_run_id,
    emit_event,
    flush,
    instrument,
    run_context,
    tracer,
    uninstrument,
)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Instrumented with providers of the test's own; what was exported is in memory."""
    exporter, logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
    traces, events = TracerProvider(), LoggerProvider()
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    events.add_log_record_processor(SimpleLogRecordProcessor(logs))
    instrument(tracer_provider=traces, logger_provider=events)
    exporter.logs = logs  # type: ignore[attr-defined]
    yield exporter
    uninstrument()


def test_a_given_provider_is_used_and_stamped_with_run_ids(spans: InMemorySpanExporter) -> None:
    """Any span of the provider, another library's too, carries the run id of its context; none outside."""
    from handrail_propagation import telemetry

    current = telemetry.current()
    assert current is not None
    other = current.tracer_provider.get_tracer("another library")
    with run_context("run-7"):
        assert current_run_id() == "run-7"
        with tracer().start_as_current_span("ours"), other.start_as_current_span("theirs"):
            pass
    assert current_run_id() is None
    other.start_span("outside").end()
    ids = {span.name: (span.attributes or {}).get(names.RUN_ID) for span in spans.get_finished_spans()}
    assert ids == {"ours": "run-7", "theirs": "run-7", "outside": None}


def test_instrumenting_twice_returns_the_same(spans: InMemorySpanExporter) -> None:
    """The second call changes nothing and stamps nothing twice."""
    first, second = instrument(), instrument()
    assert first is second


@pytest.mark.parametrize("run_id", ["", "x" * 129])
def test_a_run_id_has_bounds(run_id: str) -> None:
    """A run id that would not fit into baggage and attributes is refused where it is made."""
    with pytest.raises(ValueError, match="run id"), run_context(run_id):
        pass


def test_an_event_goes_to_the_log_and_to_its_span(spans: InMemorySpanExporter) -> None:
    """An event is one log record in the span's context; with `span=` it is on the span as well."""
    with tracer().start_as_current_span("tool") as span:
        emit_event(names.EVENT_DECISION, {"a": 1, "absent": None}, span=span)
        emit_event("log only", {"b": 2})
    (record, other) = (data.log_record for data in spans.logs.get_finished_logs())  # type: ignore[attr-defined]
    context = span.get_span_context()
    assert (record.event_name, record.attributes) == (names.EVENT_DECISION, {"a": 1})
    assert (record.trace_id, record.span_id) == (context.trace_id, context.span_id)
    assert (other.event_name, other.span_id) == ("log only", context.span_id)
    (finished,) = spans.get_finished_spans()
    assert [(event.name, dict(event.attributes or {})) for event in finished.events] == [
        (names.EVENT_DECISION, {"a": 1})
    ]


def test_an_event_never_raises(spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    """Attributes that cannot be recorded cost a warning at most, not the work that they describe."""

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    emit_event("odd", {"value": object()}, span=Broken())  # type: ignore[arg-type]
    assert "odd" in caplog.text


def test_flush_reports_a_destination_that_takes_nothing(spans: InMemorySpanExporter) -> None:
    """flush() is true when everything went out, false when a processor says otherwise or the time is up."""
    from handrail_propagation import telemetry

    assert flush(5)
    current = telemetry.current()
    assert current is not None
    assert isinstance(current.tracer_provider, TracerProvider)

    class Stuck(SimpleSpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return False

    current.tracer_provider.add_span_processor(Stuck(InMemorySpanExporter()))
    assert not flush(5)


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, for what is global there."""
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "", "OTEL_LOGS_EXPORTER": "none", **environ},
    )


def test_sdk_disabled_makes_no_spans_and_still_passes_context_on() -> None:
    """OTEL_SDK_DISABLED=true: spans do not record, and headers carry what came in."""
    done = run(
        "from handrail_propagation import instrument, tracer, carrier\n"
        "instrument()\n"
        "got = carrier.extract({'traceparent': '00-' + '1' * 32 + '-' + '2' * 16 + '-01'})\n"
        "span = tracer().start_span('x', context=got.context)\n"
        "out = {}\n"
        "from opentelemetry.trace import set_span_in_context\n"
        "carrier.inject(out, set_span_in_context(span, got.context))\n"
        "print(span.is_recording(), out['traceparent'])\n",
        OTEL_SDK_DISABLED="true",
    )
    assert done.stdout.split() == ["False", f"00-{'1' * 32}-{'2' * 16}-01"], done.stderr


def test_console_exporter_prints_spans() -> None:
    """OTEL_TRACES_EXPORTER=console prints each span as it ends; OTEL_SERVICE_NAME names the service."""
    done = run(
        "from handrail_propagation import instrument, tracer\n"
        "instrument(service_name='fallback')\n"
        "tracer().start_span('seen').end()\n",
        OTEL_TRACES_EXPORTER="console",
        OTEL_SERVICE_NAME="from-environment",
    )
    assert '"name": "seen"' in done.stdout, done.stderr
    assert "from-environment" in done.stdout


def test_what_an_exporter_imports_is_imported_before_a_fork() -> None:
    """A child that is forked while the parent makes its first export must not inherit half an HTTP client."""
    done = run(
        "import sys\n"
        "from handrail_propagation import instrument\n"
        "instrument()\n"
        "before = set(sys.modules)\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "OTLPSpanExporter().shutdown()\n"
        "print(sorted(set(sys.modules) - before))\n",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_exporter_none_exports_nothing_and_waits_for_nobody() -> None:
    """OTEL_TRACES_EXPORTER=none: spans are made, nothing is sent, a flush is at once done."""
    done = run(
        "from handrail_propagation import flush, instrument, tracer\n"
        "instrument(service_name='quiet')\n"
        "span = tracer().start_span('x'); span.end()\n"
        "print(flush(1), span.resource.attributes['service.name'])\n",
        OTEL_TRACES_EXPORTER="none",
    )
    assert done.stdout.split() == ["True", "quiet"], done.stderr


def test_an_unknown_exporter_is_one_clear_line() -> None:
    """A name that no installed package answers to is a ConfigurationError that names the variable."""
    done = run("from handrail_propagation import instrument; instrument()", OTEL_TRACES_EXPORTER="pigeon")
    assert "ConfigurationError: OTEL_TRACES_EXPORTER='pigeon'" in done.stderr


def test_a_global_sdk_provider_is_used_not_replaced() -> None:
    """An application that has set its tracer provider keeps it, and gets run ids on its spans."""
    done = run(
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "mine = TracerProvider()\n"
        "trace.set_tracer_provider(mine)\n"
        "from handrail_propagation import instrument, run_context\n"
        "telemetry = instrument()\n"
        "with run_context('r'):\n"
        "    span = trace.get_tracer('app').start_span('x')\n"
        "print(telemetry.tracer_provider is mine, trace.get_tracer_provider() is mine, "
        "span.attributes['agent.run.id'])\n"
    )
    assert done.stdout.split() == ["True", "True", "r"], done.stderr


def test_importing_costs_no_sdk_and_no_celery() -> None:
    """Importing the package loads neither the SDK nor Celery; `instrument()` does."""
    done = run(
        "import sys, handrail_propagation\n"
        "print([name for name in ('celery', 'opentelemetry.sdk') if name in sys.modules])\n"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_uninstrument_puts_back_what_celery_had() -> None:
    """Each function of Celery's and kombu's that was replaced is its own again, and so are the defaults."""
    import celery.app.trace
    from celery.app.amqp import AMQP
    from celery.backends.base import Backend
    from celery.worker.request import Request
    from kombu import Queue

    def found() -> list[object]:
        owners = (AMQP, Backend, Request, Queue, celery.app.trace)
        return [dict(vars(owner)) for owner in owners] + [vars(AMQP)["as_task_v2"].__defaults__]

    before = found()
    instrument(tracer_provider=TracerProvider(), logger_provider=LoggerProvider())
    assert all(now != then for now, then in zip(found(), before, strict=True))
    uninstrument()
    assert found() == before
