"""One header of a message, lost or spoilt in its producer: after all instrumentation, before the wire."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from kombu.messaging import Producer

from handrail_harness.faults.rules import Rule, Rules

_producer: Any = Producer


def install(rules: Rules) -> Callable[[], None]:
    """Wrap kombu's `Producer.publish`; returns what takes the wrapper away again."""
    publish = _producer.publish

    @wraps(publish)
    def publish_spoilt(self: Any, body: Any, *args: Any, **options: Any) -> Any:
        found = options.get("headers")
        if isinstance(found, dict) and "task" in found:
            options["headers"] = _spoilt(rules, found, str(options.get("routing_key") or ""))
        return publish(self, body, *args, **options)

    def restore() -> None:
        _producer.publish = publish

    _producer.publish = publish_spoilt
    return restore


def _spoilt(rules: Rules, headers: dict[str, Any], queue: str) -> dict[str, Any]:
    changed = dict(headers)
    for rule in rules.read():
        value = changed.get(rule.header)
        if (
            not rule.kind.endswith("_header")
            or value is None
            or not rule.matches(str(headers["task"]), queue)
        ):
            continue
        if rules.claim(rule, header=rule.header, message=str(headers.get("id")), queue=queue):
            if rule.kind == "drop_header":
                del changed[rule.header]
            else:
                changed[rule.header] = _value(rule, value)
    return changed


def _value(rule: Rule, value: object) -> str:
    if rule.kind == "garble_header":
        return f"garbled-{value}"
    return str(value) + "0" * (rule.size - len(str(value)))
