"""The worker's side of a conformance run: `celery -A handrail_harness.conformance.service worker -Q QUEUE`.

The broker is Celery's `CELERY_BROKER_URL`. To try an app of your own, call `register(app)` in it instead.
"""

from __future__ import annotations

from celery import Celery

from handrail_harness.conformance.exchange import ANSWER, REFLECT
from handrail_propagation import instrument


def register(app: Celery) -> None:
    """Add the task `REFLECT`, which sends what `exchange.run` reads, to an app."""

    @app.task(name=REFLECT, ignore_result=True)
    def reflect(key: str, sends: int, answers: str) -> None:
        for _ in range(sends):
            app.send_task(ANSWER, (key,), queue=answers, ignore_result=True)


app = Celery("conformance")
register(app)
instrument(app)
