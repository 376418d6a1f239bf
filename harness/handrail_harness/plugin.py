"""pytest plugin: the fixture `handrail`. Importing it costs nothing; runs without it are not changed.

Everything else is in `handrail_harness.testing`, which is imported by the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from handrail_harness.testing import Handrail


@pytest.fixture(scope="session")
def handrail() -> Iterator[Handrail]:
    """The embedded stack (Redis, OTLP receiver, store) and helpers for runs on it, for the whole session."""
    from handrail_harness.testing import Handrail

    with Handrail() as session:
        yield session
