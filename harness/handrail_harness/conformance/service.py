"""The worker's side of the W3C cases alone: `celery -A handrail_harness.conformance.service worker -Q QUEUE`.

The broker is Celery's `CELERY_BROKER_URL`. `handrail conformance MODULE:APP` puts the same tasks into an app of
yours (see `probed`).
"""

from __future__ import annotations

from celery import Celery

from handrail_harness.conformance.tasks import register
from handrail_propagation import instrument

app = Celery("conformance")
register(app)
instrument(app)
