"""Propagation of W3C trace context through Celery messages: "this message belongs under that span", and nothing about agents."""

from __future__ import annotations

__all__: list[str] = []
