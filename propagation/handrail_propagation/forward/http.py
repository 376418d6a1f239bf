"""OTLP over HTTP, with the endpoint, headers, certificates and time-outs of OpenTelemetry's own exporter."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from typing import Any, Final

from handrail_propagation.forward.outcome import Declined, Later, Outcome, Refused, accepted
from handrail_propagation.forward.wire import Signal

_GZIP_LEVEL: Final = 1
"""Level 6 costs three times the time for a tenth of the size."""


class HttpTransport:
    """Posts export requests; `exporters` are stock OTLP/HTTP exporters by signal, of which only settings are used.

    Requests of the signals in `compressed` are sent with gzip.
    """

    def __init__(self, exporters: dict[Signal, Any], *, compressed: Collection[Signal]) -> None:
        self._clients = {signal: exporter._client for signal, exporter in exporters.items()}
        self._compressed = compressed
        for client in self._clients.values():
            client._headers = {
                key: value for key, value in client._headers.items() if key.lower() != "content-encoding"
            }

    @property
    def signals(self) -> frozenset[Signal]:
        """What this destination is sent."""
        return frozenset(self._clients)

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Send one request and wait for its answer."""
        client = self._clients[signal]
        headers = {"Content-Type": "application/x-protobuf", **client._headers}
        if signal in self._compressed:
            deflate = zlib.compressobj(_GZIP_LEVEL, wbits=31)
            body = deflate.compress(body) + deflate.flush()
            headers["Content-Encoding"] = "gzip"
        answer = client._transport.request(
            "POST", client._endpoint, headers=headers, data=body, timeout=client._timeout
        )
        if answer.error is not None or answer.status_code is None:
            return Later(f"{client._endpoint}: {_brief(_root(answer.error))}")
        return self._outcome(signal, client._endpoint, answer)

    def _outcome(self, signal: Signal, endpoint: str, answer: Any) -> Outcome:
        status = answer.status_code
        reason = f"{endpoint}: HTTP {status}"
        if 200 <= status < 300:
            json = "json" in str(answer.headers().get("content-type") or "")
            return accepted(signal, answer.content(), json=json)
        if signal is Signal.LOGS and status in (404, 405, 501):
            return Declined(reason)
        # 400 and 413 are about the request; whatever else it is (credentials, a wrong path, an outage), it can be
        # mended, and nothing is given up for it
        if status in (400, 413, 422):
            return Refused(f"{reason} {_brief(answer.content())}".rstrip())
        return Later(reason, _retry_after(answer))

    def close(self) -> None:
        """Close its connections."""
        for client in self._clients.values():
            client._transport.close()


def _retry_after(answer: Any) -> float | None:
    """Return the seconds that `Retry-After` asks for (RFC 9110, 10.2.3), `None` where it makes no sense."""
    text = str(answer.headers().get("retry-after") or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _root(error: BaseException | None) -> BaseException | None:
    """Return what happened in the first place: "connection refused", and not who has given up for it."""
    while error is not None and (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _brief(what: object) -> str:
    text = what.decode("utf-8", "replace") if isinstance(what, bytes) else f"{type(what).__name__}: {what}"
    return "".join(character if character.isprintable() else " " for character in text)[:200].strip()
