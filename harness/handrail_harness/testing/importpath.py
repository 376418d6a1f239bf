"""Where this process imports from, for workers that are to import the same application."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

_INSTALLED = {"site-packages", "dist-packages"}


def import_path() -> Mapping[str, str]:
    """Return `PYTHONPATH` with the folders that pytest's `pythonpath`, or a conftest, has added; `{}` without any.

    What every interpreter finds by itself is left out.
    """
    own = {Path(path) for path in sysconfig.get_paths().values()}
    own |= {path / "lib-dynload" for path in own}
    folders = (Path(entry) for entry in sys.path if entry)
    added = [
        str(one) for one in folders if one.is_dir() and one not in own and _INSTALLED.isdisjoint(one.parts)
    ]
    return {"PYTHONPATH": os.pathsep.join(added)} if added else {}
