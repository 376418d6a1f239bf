"""The `handrail` command. Each sub-command is a module of its own; `app` puts them together."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `handrail` command line; says which extra is missing instead of failing on an import."""
    try:
        from handrail_harness.cli.app import run
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0].startswith("handrail"):
            raise
        print(
            f"handrail: the command line needs the package {error.name!r}; "
            "install the extra with:  pip install 'handrail[harness]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    run()
