"""`carrier` worked out for message systems besides Celery; each module is imported by who uses it."""

from __future__ import annotations
