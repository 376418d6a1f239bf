"""The table of settings: OTEL_* first, defaults, and one clear line for a value that is unusable."""

from __future__ import annotations

from dataclasses import fields

import pytest

from handrail_propagation.config import Config
from handrail_propagation.conventions import CAPTURE_CONTENT_VARIABLE
from handrail_propagation.errors import ConfigurationError


def test_defaults_are_the_tables() -> None:
    """With nothing set, spans and events go out by OTLP over HTTP and metrics stay off."""
    config = Config.from_environment({})
    assert config == Config()
    assert (config.traces_exporter, config.logs_exporter, config.metrics_exporter) == (
        ("otlp",),
        ("otlp",),
        (),
    )


def test_every_setting_can_be_set_and_is_explained() -> None:
    """Each row of the table has a variable and a sentence."""
    assert fields(Config)
    for entry in fields(Config):
        assert entry.metadata["variables"]
        assert entry.metadata["doc"].endswith(".")


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"OTEL_SDK_DISABLED": "TRUE"}, "disabled", True),
        ({"OTEL_SDK_DISABLED": "1"}, "disabled", False),
        ({"OTEL_TRACES_EXPORTER": "none"}, "traces_exporter", ()),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, "traces_exporter", ("otlp", "console")),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, "metrics_exporter", ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "traces_protocol", "grpc"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            "traces_protocol",
            "http/protobuf",
        ),
        ({"OTEL_SERVICE_NAME": "ops"}, "service_name", "ops"),
        ({"HANDRAIL_FLUSH_TIMEOUT": "2.5"}, "flush_timeout", 2.5),
        ({"HANDRAIL_BAGGAGE_KEYS": "agent.run.id, tenant"}, "baggage_keys", ("agent.run.id", "tenant")),
        ({"HANDRAIL_SPAN_EVENTS": "false"}, "span_events", False),
        ({"HANDRAIL_SPAN_EVENTS": ""}, "span_events", True),
        ({CAPTURE_CONTENT_VARIABLE: "no_content"}, "capture_content", "NO_CONTENT"),
        ({CAPTURE_CONTENT_VARIABLE: "event_only"}, "capture_content", "EVENT_ONLY"),
    ],
)
def test_variables(environ: dict[str, str], field: str, value: object) -> None:
    """Each variable sets its field; an empty one counts as not set (OpenTelemetry, environment variables)."""
    assert getattr(Config.from_environment(environ), field) == value


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"},
        {"HANDRAIL_FLUSH_TIMEOUT": "soon"},
        {"HANDRAIL_FLUSH_TIMEOUT": "nan"},
        {"HANDRAIL_TRUST": "blindly"},
        {CAPTURE_CONTENT_VARIABLE: "true"},
        {CAPTURE_CONTENT_VARIABLE: "SPAN_ONLY"},
        {CAPTURE_CONTENT_VARIABLE: "span_and_event"},
    ],
)
def test_unusable_values_name_the_variable(environ: dict[str, str]) -> None:
    """The error says which variable, and what it was."""
    ((variable, value),) = environ.items()
    with pytest.raises(ConfigurationError, match=variable) as caught:
        Config.from_environment(environ)
    assert value in str(caught.value)
