"""pytest plugin: importing it costs nothing, and it changes no run that does not ask for its fixtures."""

from __future__ import annotations
