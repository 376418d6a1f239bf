"""The journal in Redis: one hash and one lease key per invocation, each transition one Lua script.

All keys of a run share a hash tag, so they live in one slot of a cluster. Errors of Redis become one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from handrail_agents import lease, outcomes
from handrail_agents.errors import JournalError, LeaseLost
from handrail_agents.journal import Invocation, Segment, Wake
from handrail_agents.journal_scripts import SCRIPTS
from handrail_agents.outcomes import Outcome
from handrail_agents.redis_client import ERRORS, connect, is_redis, without_password

if TYPE_CHECKING:
    from celery import Celery

KEPT_SECONDS: Final = 30 * 24 * 3600
"""How long a run's state outlives its last change."""


class RedisJournal:
    """A journal at a Redis URL, or behind Sentinels, in a cluster: see `redis_client.connect`.

    Connects when first used; each attempt is bounded to a few seconds. `options` and `use_ssl` are Celery's
    `broker_transport_options` and `broker_use_ssl`, where the URL is the broker's.
    """

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        use_ssl: Mapping[str, Any] | bool | None = None,
    ) -> None:
        self._url = url
        try:
            self._redis = connect(url, options=options, use_ssl=use_ssl)
        except ValueError as error:
            raise JournalError(f"{without_password(url)} is no Redis URL: {error}") from None
        except ERRORS as error:  # a cluster is asked at once which of its nodes has what
            raise _no_answer(url, error) from error

    @cached_property
    def _scripts(self) -> dict[str, Any]:
        return {name: self._redis.register_script(source) for name, source in SCRIPTS.items()}

    def open(self, invocation: Invocation) -> None:
        self._run("open", invocation.run_id, invocation.id, *_described(invocation))

    def begin(self, run_id: str, invocation: str, agent: str, holder: str) -> Segment:
        while True:
            answer = self._run("begin", run_id, invocation, agent, holder, lease.SECONDS * 1000)
            if answer[0] == "busy" and lease.holder_is_dead(answer[1]):
                # Compare-and-delete: somebody else may have seen it, too, and be running already.
                self._run("release", run_id, invocation, answer[1], "dead")
                continue
            break
        if answer[0] != "go":
            return Segment(began=answer[0])
        entries = dict(zip(answer[1::2], answer[2::2], strict=True))
        found = Invocation(
            run_id=run_id,
            id=invocation,
            agent=agent,
            parent=entries["parent"] or None,
            path=tuple(json.loads(entries["path"])),
        )
        return Segment("go", int(entries["segments"]), found, entries)

    def renew(self, run_id: str, invocation: str, holder: str) -> bool:
        return bool(self._run("renew", run_id, invocation, holder, lease.SECONDS * 1000))

    def release(self, run_id: str, invocation: str, holder: str) -> None:
        self._run("release", run_id, invocation, holder, "alive")

    def record(self, run_id: str, invocation: str, holder: str, key: str, entry: str) -> str | None:
        return self._held(self._run("record", run_id, invocation, holder, key, entry))

    def note(self, run_id: str, invocation: str, key: str, entry: str) -> None:
        self._run("note", run_id, invocation, key, entry)

    def delegate(
        self, parent: Invocation, holder: str, key: str, entry: str, children: Sequence[Invocation]
    ) -> str | None:
        described = [text for child in children for text in (child.id, *_described(child))]
        return self._held(self._run("delegate", parent.run_id, parent.id, holder, key, entry, *described))

    def park(self, run_id: str, invocation: str, holder: str, children: Sequence[str]) -> list[str] | None:
        answer = self._run("park", run_id, invocation, holder, " ".join(children))
        if answer[0] == "lost":
            raise LeaseLost()
        return list(answer[1:]) if answer[0] == "ready" else None

    def results(self, run_id: str, invocation: str, children: Sequence[str]) -> list[str | None]:
        found = self._guard(lambda: self._redis.hmget(_key(run_id, invocation), [f"r:{c}" for c in children]))
        return [text[1:] if text else None for text in found]

    def settle(self, run_id: str, invocation: str, holder: str | None, outcome: Outcome) -> Wake | None:
        mark = "!" if isinstance(outcome, outcomes.Blocked) else "="
        answer = self._run("settle", run_id, invocation, holder or "", mark + outcomes.to_text(outcome))
        if answer[0] == "lost":
            raise LeaseLost()
        return _wake(answer)

    def settled_again(self, run_id: str, invocation: str) -> Wake | None:
        return _wake(self._run("again", run_id, invocation))

    def outcome(self, run_id: str) -> Outcome | None:
        text = self._guard(lambda: self._redis.hget(_key(run_id, run_id), "outcome"))
        return outcomes.from_text(text[1:]) if text else None

    def started(self, run_id: str) -> bool:
        return bool(self._guard(lambda: self._redis.hexists(_key(run_id, run_id), "segments")))

    def _held(self, answer: list[str]) -> str | None:
        if answer[0] == "lost":
            raise LeaseLost()
        return answer[1] if answer[0] == "there" else None

    def _run(self, script: str, run_id: str, invocation: str, *arguments: str | int) -> Any:
        keys = [_key(run_id, ""), _key(run_id, invocation), _key(run_id, invocation) + ":lease"]
        values = [KEPT_SECONDS, invocation, *arguments]
        return self._guard(lambda: self._scripts[script](keys=keys, args=values))

    def _guard(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ERRORS as error:
            raise _no_answer(self._url, error) from error


def of_broker(app: Celery) -> RedisJournal | None:
    """Return the journal in the Redis that is an app's broker, `None` when its broker is none."""
    broker = app.conf.broker_url or ""
    url = broker if isinstance(broker, str) else ";".join(broker)
    if not url.startswith("sentinel://"):
        url = url.split(";")[0]  # of several brokers the first one; of several Sentinels all
    if not is_redis(url):
        return None
    return RedisJournal(url, options=app.conf.broker_transport_options, use_ssl=app.conf.broker_use_ssl)


def _no_answer(url: str, error: Exception) -> JournalError:
    return JournalError(
        f"the journal at {without_password(url)} does not answer ({type(error).__name__}); "
        "start that Redis, or set journal= or HANDRAIL_REDIS_URL to one that runs"
    )


def _key(run_id: str, invocation: str) -> str:
    return f"handrail:{{{run_id}}}:{invocation}"


def _described(invocation: Invocation) -> tuple[str, str, str]:
    return invocation.agent, invocation.parent or "", json.dumps(invocation.path)


def _wake(answer: list[str]) -> Wake | None:
    return Wake(invocation=answer[1], agent=answer[2]) if answer[0] == "wake" else None
