"""The tasks that a conformance run puts into an app, beside its own; nothing in here traces anything.

Their messages are JSON whatever the app's serializer is, and go to the queue that they name.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery, chain

REFLECT: Final = "handrail.conformance.reflect"
"""`(key, sends, queue)`: sends `sends` messages `ANSWER` with `key` to `queue`."""
ANSWER: Final = "handrail.conformance.answer"
"""`(key)`: does nothing; its message is what is looked at."""
LEAF: Final = "handrail.conformance.leaf"
FAN_OUT: Final = "handrail.conformance.fan_out"
"""`(queue, widths)`: delegates to as many tasks as the first of `widths` says, these to as many as the next."""
CHAIN: Final = "handrail.conformance.chain"
"""`(queue, steps)`: starts a chain of `LEAF`."""
RETRY: Final = "handrail.conformance.retry"
"""`(text, failures)`: fails so often with `text`, is retried at once, then succeeds."""
FAIL: Final = "handrail.conformance.fail"
"""`(text)`: fails with `text`."""


def register(app: Celery) -> None:
    """Add the tasks to an app."""
    options: dict[str, Any] = {"ignore_result": True, "serializer": "json"}

    @app.task(name=ANSWER, **options)
    def answer(key: str) -> None:
        pass

    @app.task(name=REFLECT, **options)
    def reflect(key: str, sends: int, answers: str) -> None:
        for _ in range(sends):
            answer.apply_async((key,), queue=answers)

    @app.task(name=LEAF, **options)
    def leaf() -> None:
        pass

    @app.task(name=FAN_OUT, **options)
    def fan_out(queue: str, widths: list[int]) -> None:
        for _ in range(widths[0] if widths else 0):
            fan_out.apply_async((queue, widths[1:]), queue=queue)

    @app.task(name=CHAIN, **options)
    def start_chain(queue: str, steps: int) -> None:
        chain(*(leaf.si().set(queue=queue) for _ in range(steps))).apply_async()

    @app.task(name=RETRY, bind=True, max_retries=None, **options)
    def retry(self: Any, text: str, failures: int) -> None:
        if self.request.retries < failures:
            raise self.retry(exc=ValueError(text), countdown=0)

    @app.task(name=FAIL, **options)
    def fail(text: str) -> None:
        raise ValueError(text)
