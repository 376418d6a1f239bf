"""Where a spool is forwarded to: from the `OTEL_EXPORTER_OTLP_*` variables, or named by URL."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from handrail_propagation.config import Config
from handrail_propagation.errors import ConfigurationError
from handrail_propagation.forward.outcome import Outcome
from handrail_propagation.forward.retry import LONGEST
from handrail_propagation.forward.wire import Signal

_PATHS: Final = {Signal.TRACES: "/v1/traces", Signal.LOGS: "/v1/logs"}
_RECONNECTING: Final = (("grpc.max_reconnect_backoff_ms", round(LONGEST * 1000)),)
"""A channel knocks as often as the forwarder does; gRPC's own limit is two minutes."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1", "")


class Transport(Protocol):
    """Sends export requests, one at a time."""

    @property
    def signals(self) -> frozenset[Signal]:
        """What this destination is sent."""
        ...

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Send one request and wait for its answer; raises nothing that the network can cause."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


@dataclass(frozen=True, slots=True)
class Destination:
    """A place that acknowledges; `name` is what its ledger is kept under."""

    name: str
    transport: Transport
    max_bytes: int = 2 << 20
    """Of one request, before compression: gRPC servers refuse more than 4 MiB unless told otherwise."""


def destinations(config: Config) -> list[Destination]:
    """Return the destinations that the settings name: `HANDRAIL_FORWARD_TO`, else the `OTEL_EXPORTER_OTLP_*` one.

    Raises `ConfigurationError`, naming the variable, for one that is unusable.
    """
    if config.forward_to:
        found = [from_url(url, config) for url in config.forward_to]
        names = [destination.name for destination in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigurationError(
                f"{', '.join(sorted(twice))}: named twice as a destination, which has one ledger; name each once."
            )
        return found
    signals = _signals(config)
    if not signals:
        return []
    exporters: dict[Signal, Any] = {}
    over_grpc = {
        signal: (config.traces_protocol if signal is Signal.TRACES else config.logs_protocol) == "grpc"
        for signal in signals
    }
    if len(set(over_grpc.values())) > 1:
        raise ConfigurationError(
            "a spool is forwarded over one OTLP transport: set OTEL_EXPORTER_OTLP_PROTOCOL only, or name "
            "destinations in HANDRAIL_FORWARD_TO."
        )
    grpc = any(over_grpc.values())
    for signal in signals:
        exporters[signal] = _exporter(signal, grpc, None)
    named = exporters[signals[0]]._endpoint
    for exporter in () if grpc else exporters.values():
        parts, where = _split(exporter._endpoint)
        if parts.scheme not in ("http", "https") or not where:
            raise ConfigurationError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT (or that of one signal) leads to {_public(exporter._endpoint)!r}, which "
                "is no destination: use http://host:4318 or https://…."
            )
    name = f"grpc://{named}" if grpc else str(named).removesuffix(_PATHS[signals[0]])
    return [_destination(_public(name), exporters, grpc)]


def from_url(url: str, config: Config) -> Destination:
    """Return the destination of a URL.

    `http://host:4318` and `https://…` are base URLs of OTLP/HTTP, `grpc://host:4317` and `grpcs://…` OTLP/gRPC,
    `file:///folder` is a mirror in OTLP/JSON lines. Raises `ConfigurationError` for anything else.
    """
    parts, where = _split(url)
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        from handrail_propagation.forward.mirror import MAX_BYTES, MirrorTransport

        folder = Path(unquote(parts.path))
        return Destination(f"file://{folder}", MirrorTransport(folder, _signals(config)), MAX_BYTES)
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not where:
        raise ConfigurationError(
            f"{url!r} is no destination: use http://host:4318, https://…, grpc://host:4317, grpcs://… or "
            "file:///folder."
        )
    grpc = parts.scheme.startswith("grpc")
    exporters: dict[Signal, Any] = {}
    for signal in _signals(config):
        if grpc:
            endpoint = f"{'https' if parts.scheme == 'grpcs' else 'http'}://{parts.netloc}"
        else:
            endpoint = url.rstrip("/") + _PATHS[signal]
        exporters[signal] = _exporter(signal, grpc, endpoint)
    return _destination(_public(url.rstrip("/")), exporters, grpc)


def _split(url: str) -> tuple[SplitResult, str]:
    """Return a URL's parts, and its host, which is empty where host or port cannot be."""
    try:
        parts = urlsplit(url)
        return parts, (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        return urlsplit(""), ""


def _signals(config: Config) -> Sequence[Signal]:
    wanted = {Signal.TRACES: config.traces_exporter, Signal.LOGS: config.logs_exporter}
    return [signal for signal, exporters in wanted.items() if "otlp" in exporters]


def _exporter(signal: Signal, grpc: bool, endpoint: str | None) -> Any:
    module: Any
    if grpc:
        from handrail_propagation.otlp import grpc as module
    else:
        from handrail_propagation.otlp import http as module
    make = module.OTLPSpanExporter if signal is Signal.TRACES else module.OTLPLogExporter
    if not grpc:
        return make(endpoint=endpoint)
    # The transport compresses itself; the exporter would refuse the variable's value "none"
    compression = module.grpc.Compression.NoCompression
    return make(endpoint=endpoint, channel_options=_RECONNECTING, compression=compression)


def _destination(name: str, exporters: dict[Signal, Any], grpc: bool) -> Destination:
    host = urlsplit(name).hostname or ""
    compressed = frozenset(signal for signal in exporters if _is_compressed(signal, host))
    if grpc:
        from handrail_propagation.forward.grpc import GrpcTransport

        return Destination(name, GrpcTransport(exporters, compressed=compressed))
    from handrail_propagation.forward.http import HttpTransport

    return Destination(name, HttpTransport(exporters, compressed=compressed))


def _is_compressed(signal: Signal, host: str) -> bool:
    """As the signal's variable says, else the one for all; where neither is set, whatever leaves this machine."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.name}_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"):
        if said := os.environ.get(variable, "").strip().lower():
            return said != "none"
    return host not in _LOOPBACK


def _public(url: str) -> str:
    """A URL as it may be printed and kept: without user and password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
