"""The application under test, in this process: found, pointed at the stack's broker, and put back afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from handrail_harness.errors import StackError

if TYPE_CHECKING:
    from celery import Celery

    from handrail_agents import Agents

ADVICE = "set handrail_app = MODULE:ATTRIBUTE in pytest's configuration, or override the fixture handrail_app"
_BACKEND_OFF = (None, "", "disabled", "disabled://")
_SETTINGS = ("broker_read_url", "broker_write_url")


@dataclass(eq=False)
class Application:
    """A Celery app, its agents if it has some, and how `celery -A` finds it (from `folder`)."""

    app: Celery
    ops: Agents | None = None
    celery_name: str = ""
    folder: Path | None = None
    _before: dict[str, Any] = field(default_factory=dict)

    def queues(self) -> list[str]:
        """Return the names of all queues that the app's configuration, tasks and agents name."""
        conf = self.app.conf
        found: dict[str, None] = {}
        if self.ops is not None:
            found.update((self.ops.queue_of(name), None) for name in self.ops.agents)
        declared = conf.task_queues or ()
        found.update((one if isinstance(one, str) else one.name, None) for one in declared)
        found.update((name, None) for name in _routed(conf.task_routes))
        self.app.loader.import_default_modules()  # as a worker does: tasks that nobody has asked for yet
        for task in self.app.tasks.values():
            found.update((name, None) for name in self._queues_of(task) if name)
        found[str(conf.task_default_queue)] = None
        return list(found)

    def _queues_of(self, task: Any) -> Iterator[str]:
        """Yield the queue that a task names itself, and the one that the app's routers send it to."""
        yield _queue_name(getattr(task, "queue", None))
        try:
            route = self.app.amqp.router.lookup_route(task.name, (), {}, {}, task)
        except Exception:  # noqa: BLE001 - of the application: a router may want the arguments of a real message
            return
        yield _queue_name(route.get("queue") if isinstance(route, dict) else route)

    @property
    def keeps_results(self) -> bool:
        """Whether the app has a result backend."""
        internals: Any = self.app
        return internals.backend_cls not in _BACKEND_OFF or self.app.conf.result_backend not in _BACKEND_OFF

    def unknown_name(self, kind: str, name: str) -> str:
        """Return why no run of the app can have a step of this kind and name, `""` if one can.

        `kind` is `agent`, `tool`, `task`, `handoff`, or `step` for any of them.
        """
        known = self._declared(kind)
        if known is None or name in known:
            return ""
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(sorted(known)) or 'none'}"
        return f"the application declares no {kind} {name!r}; {hint}"

    def _declared(self, kind: str) -> set[str] | None:
        """Return the names that steps of a kind can have; `None` where others than the app may name some."""
        if self.ops is None:
            # Agents and tools of another framework are known to that alone.
            return self._tasks() if kind in ("task", "handoff") else None
        agents = set(self.ops.agents)
        tools = {tool for one in self.ops.agents.values() for tool in one.tools}
        if kind in ("agent", "tool"):
            return agents if kind == "agent" else tools
        tasks = self._tasks() | agents
        return tasks | tools if kind == "step" else tasks if kind in ("task", "handoff") else None

    def _tasks(self) -> set[str]:
        """Return the names of tasks, also of those that only a worker would import and that are only routed."""
        self.app.loader.import_default_modules()
        routed = {name for name in _routed_tasks(self.app.conf.task_routes) if "*" not in name}
        return routed | {name for name in self.app.tasks if not name.startswith("celery.")}

    def point_at(self, broker_url: str, journal_url: str) -> None:
        """Let the app send to `broker_url`, keep results and run journals there; `put_back` undoes it."""
        conf: Any = self.app.conf
        internals: Any = self.app
        if not self._before:
            self._before = {name: conf.get(name) for name in _SETTINGS}
            self._before["backend_cls"] = internals.backend_cls
            if self.ops is not None:
                self._before["journal"] = vars(self.ops).get("journal")
        if self.keeps_results:
            # A backend given to Celery(...) itself goes before any setting.
            internals.backend_cls = "cache+memory://" if broker_url.startswith("memory:") else broker_url
        # Both go before broker_url and CELERY_BROKER_URL.
        conf.broker_read_url = conf.broker_write_url = broker_url
        self._forget_connections()
        if self.ops is not None:
            from handrail_agents.redis_journal import RedisJournal

            vars(self.ops)["journal"] = RedisJournal(journal_url)

    def put_back(self) -> None:
        """Undo `point_at`. May be called twice."""
        if not self._before:
            return
        before, self._before = self._before, {}
        for name in _SETTINGS:
            setattr(self.app.conf, name, before[name])
        internals: Any = self.app
        _await_no_results(internals._backend)
        internals.backend_cls = before["backend_cls"]
        if self.ops is not None:
            vars(self.ops).pop("journal", None)
            if before["journal"] is not None:
                vars(self.ops)["journal"] = before["journal"]
        self._forget_connections()

    def _forget_connections(self) -> None:
        internals: Any = self.app
        if internals._pool is not None:
            internals._pool.force_close_all()
            internals._pool = None
        amqp = vars(self.app).get("amqp")
        if amqp is not None:
            amqp._producer_pool = None
        internals._backend_cache = None
        if hasattr(internals._local, "backend"):
            del internals._local.backend


def find_application(named: object, folder: Path) -> Application:
    """Return the application that is meant: `module:attribute`, an `Agents`, a `Celery` app, or `None` for the
    only app with tasks in this process.

    Raises `StackError` when none or several could be meant, `NotLoaded` when a module cannot be imported.
    """
    from celery import Celery

    from handrail_agents import Agents

    if isinstance(named, str) and named:
        return _load(named, folder)
    if isinstance(named, Agents):
        return _located(Application(named.app, named))
    if isinstance(named, Celery):
        return _located(Application(named, _agents_of(named)))
    if named is not None and named != "":
        raise StackError(
            f"handrail_app gave a {type(named).__name__}; it is an Agents, a Celery app or a name"
        )
    found = [app for app in _active_apps() if _has_tasks(app)]
    if len(found) != 1:
        many = "no Celery app with tasks has" if not found else f"{len(found)} Celery apps with tasks have"
        raise StackError(f"{many} been imported, so it is not known which one to test; {ADVICE}")
    return _located(Application(found[0], _agents_of(found[0])))


def _load(named: str, folder: Path) -> Application:
    from celery import Celery

    from handrail_agents import Agents
    from handrail_harness.loading import import_module, load_agents

    module_name, _, attribute = named.partition(":")
    module = import_module(module_name, folder)
    value = getattr(module, attribute, None) if attribute else None
    if isinstance(value, Celery):
        return Application(value, _agents_of(value), named, folder)
    if not attribute and not any(isinstance(one, Agents) for one in vars(module).values()):
        apps = {key: one for key, one in vars(module).items() if isinstance(one, Celery)}
        if len(apps) == 1:
            ((key, app),) = apps.items()
            return Application(app, _agents_of(app), f"{module_name}:{key}", folder)
    loaded = load_agents(named, folder)
    return Application(loaded.ops.app, loaded.ops, loaded.celery_name, folder)


def _located(application: Application) -> Application:
    """Find the module that holds the app, so that workers can be started on it."""
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or name == "__main__" or not getattr(module, "__file__", None):
            continue
        for key, value in list(vars(module).items()):
            if value is application.app:
                application.celery_name = f"{name}:{key}"
                application.folder = Path(str(module.__file__)).parents[name.count(".")]
                return application
    return application


def _await_no_results(backend: Any) -> None:
    """Let results that are still referred to, as by a failed test's traceback, die without a word to the backend.

    A result that nobody has fetched unsubscribes as it goes, and Celery tries for half a minute to reach a server for
    that which has been stopped.
    """
    consumer = getattr(backend, "result_consumer", None)
    subscribed = getattr(consumer, "subscribed_to", None)
    if consumer is not None and isinstance(subscribed, set):
        subscribed.clear()
        consumer.stop()


def _agents_of(app: Celery) -> Agents | None:
    for task in app.tasks.values():
        if (ops := getattr(task, "handrail_ops", None)) is not None:
            found: Agents = ops
            return found
    return None


def _active_apps() -> list[Celery]:
    from celery import _state

    internals: Any = _state
    return list(internals._get_active_apps())


def _has_tasks(app: Celery) -> bool:
    internals: Any = app
    if not internals._pending and not any(not name.startswith("celery.") for name in internals._tasks):
        return False
    return any(not name.startswith("celery.") for name in app.tasks)


def _routed_tasks(routes: Any) -> Iterator[str]:
    yield from (name for name, _ in _pairs(routes) if isinstance(name, str))


def _routed(routes: Any) -> Iterator[str]:
    for _, target in _pairs(routes):
        if queue := _queue_name(target.get("queue") if isinstance(target, dict) else target):
            yield queue


def _pairs(routes: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what `task_routes` maps: dictionaries and lists of pairs, one or several of them."""
    for one in routes if isinstance(routes, (list, tuple)) else [routes]:
        if isinstance(one, dict):
            yield from one.items()
        elif isinstance(one, (list, tuple)):
            yield from (
                (pair[0], pair[1]) for pair in one if isinstance(pair, (list, tuple)) and len(pair) == 2
            )


def _queue_name(queue: Any) -> str:
    name = getattr(queue, "name", queue)
    return name if isinstance(name, str) else ""
