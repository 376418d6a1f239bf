"""`python -m handrail_harness.cli`: the same as the command `handrail`."""

from __future__ import annotations

from handrail_harness.cli import main

main()
