"""Between workers and the stack's receiver: what arrives is passed on, unless a verb says otherwise."""

from __future__ import annotations

import threading
from types import TracebackType

from handrail_harness import keptalive
from handrail_harness.faults.behaviour import ACCEPT, Behaviour
from handrail_harness.faults.destination import FaultyDestination
from handrail_harness.faults.injected import Bites


class Relay(FaultyDestination):
    """A destination for exports that passes on what it takes to `target`, a base URL; a context manager.

    Only exports of spans are spoilt; log-based events pass unharmed.
    """

    def __init__(self, target: str) -> None:
        import httpx

        super().__init__()
        self._client = httpx.Client(base_url=target, timeout=20, trust_env=False)
        self._turn = threading.Lock()
        self._left = 0
        self._how = ACCEPT
        self._bites = Bites()

    def spoil(self, how: Behaviour, times: int, bites: Bites) -> None:
        """Treat the next `times` exports of spans so (0: every one), and note each; the latest call counts."""
        with self._turn:
            self._how, self._left, self._bites = how, times or -1, bites

    def heal(self) -> None:
        """Pass everything on again."""
        with self._turn:
            self._left = 0

    def behave(self, path: str, body: bytes) -> Behaviour:
        """Return how to treat one request."""
        with self._turn:
            if self._left and path.endswith("/v1/traces"):
                self._left -= 1
                self._bites.note(bytes=len(body), status=self._how.status)
                return self._how
        return ACCEPT

    def take(self, path: str, body: bytes) -> None:
        """Pass a request on. Raises `httpx.HTTPError` when the stack does not take it: the exporter gets no answer."""
        headers = {"Content-Type": "application/x-protobuf"}
        keptalive.request(self._client, "POST", path, content=body, headers=headers).raise_for_status()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._client.close()
