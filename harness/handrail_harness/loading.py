"""Finding the user's agents by a name such as `ops:ops`, as Celery finds an app by `-A ops:app`."""

from __future__ import annotations

import difflib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from handrail_propagation.errors import HandrailError

if TYPE_CHECKING:
    from handrail_agents import Agents


class NotLoaded(HandrailError):
    """The agents could not be imported; name them as MODULE:ATTRIBUTE, seen from this folder."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A system of agents, and the name under which `celery -A` finds its app."""

    ops: Agents
    celery_name: str


def load_agents(name: str, folder: Path | None = None) -> Loaded:
    """Import what `module:attribute` names; without an attribute, the only `Agents` in the module.

    Looks in `folder` (default: the current one) first, as Celery does. Raises `NotLoaded` in one line.
    """
    from handrail_agents import Agents

    module_name, _, attribute = name.partition(":")
    module = import_module(module_name, folder or Path.cwd())
    found = {key: value for key, value in vars(module).items() if isinstance(value, Agents)}
    if not attribute:
        if len(found) != 1:
            there = ", ".join(f"{module_name}:{key}" for key in found) or "none"
            raise NotLoaded(f"{module_name} should hold one Agents(...); it has {there}")
        (ops,) = found.values()
    elif attribute in found:
        ops = found[attribute]
    elif hasattr(module, attribute):
        kind = type(getattr(module, attribute)).__name__
        hint = f"; try {module_name}:{next(iter(found))}" if found else ""
        raise NotLoaded(f"{name} is a {kind}, not an Agents(...){hint}")
    else:
        near = difflib.get_close_matches(attribute, found or vars(module), n=1)
        hint = f"; did you mean {module_name}:{near[0]}?" if near else ""
        raise NotLoaded(f"{module_name} has no {attribute!r}{hint}")
    return Loaded(ops, f"{module_name}:{_app_attribute(module, ops)}")


def _app_attribute(module: ModuleType, ops: Agents) -> str:
    for key, value in vars(module).items():
        if value is ops.app:
            return key
    raise NotLoaded(
        f"{module.__name__} does not hold the Celery app of its agents under a name of its own; "
        "workers need it:  app = Celery(...)"
    )


def import_module(name: str, folder: Path) -> ModuleType:
    """Import a module as `celery -A` would, from `folder` first; raises `NotLoaded` in one line."""
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise NotLoaded(f"{name!r} is no module name; write MODULE:ATTRIBUTE, such as ops:ops")
    place = str(folder.absolute())
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        return importlib.import_module(name)
    except HandrailError:
        raise
    except ModuleNotFoundError as error:
        if error.name == name.split(".")[0]:
            raise NotLoaded(
                f"there is no module {name!r} in {place} or among the installed packages"
            ) from error
        raise NotLoaded(f"{name} needs the module {error.name!r}, which is not installed") from error
    except Exception as error:
        raise NotLoaded(
            f"{name} failed while it was imported, with {type(error).__name__}: {error}"
        ) from error
