"""One set of names: the constants, the table that `conventions` checks by, and the registry for Weaver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from handrail_harness.attributes import AGENT_ATTRIBUTES, Attribute
from handrail_harness.rules.semconv import CONVENTIONS
from handrail_propagation import conventions as c

REGISTRY = Path(__file__).resolve().parents[2] / "docs" / "semconv" / "agent.yaml"
EVENTS = {c.EVENT_DECISION, c.EVENT_TOOL_CONTENT}


def groups(kind: str) -> list[dict[str, Any]]:
    found = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))["groups"]
    return [group for group in found if group["type"] == kind]


def test_every_attribute_of_ours_is_in_the_table() -> None:
    """A constant for an `agent.*` attribute has its type and bounds in the table, and nothing else is there."""
    spelled = {
        value
        for name, value in vars(c).items()
        if name.isupper() and isinstance(value, str) and value.startswith("agent.")
    }
    assert spelled - EVENTS == set(AGENT_ATTRIBUTES)


def test_the_registry_says_the_same_as_the_table() -> None:
    """Each attribute once, with the type, the values, the brief and the bound that the checker uses."""
    written = {}
    for group in groups("attribute_group"):
        for attribute in group["attributes"]:
            kind = attribute["type"]
            values = tuple(member["value"] for member in kind["members"]) if isinstance(kind, dict) else ()
            note = attribute.get("note", "")
            most = int(note.split()[2]) if note.startswith("At most ") else None
            assert attribute["id"] not in written
            written[attribute["id"]] = Attribute(
                "string" if values else kind, attribute["brief"], values, most
            )
            assert attribute["id"].startswith(group["id"].removeprefix("registry."))
    assert written == AGENT_ATTRIBUTES


def test_the_decision_event_is_in_the_registry() -> None:
    """The event refers to attributes that exist, among them all that a record must have."""
    (event,) = groups("event")
    assert event["name"] == c.EVENT_DECISION
    levels = {attribute["ref"]: attribute["requirement_level"] for attribute in event["attributes"]}
    assert set(levels) <= set(AGENT_ATTRIBUTES)
    assert {key for key, level in levels.items() if level == "required"} == {
        c.DECISION_ID,
        c.DECISION_INTENT,
        c.DECISION_REASONING,
        c.DECISION_CONTEXT_SOURCE,
        c.DECISION_RISK,
        c.DECISION_REVERSIBLE,
    }


def test_the_table_of_spans_uses_known_names() -> None:
    """What the table requires of a span is spelled in conventions.py."""
    spelled = {value for name, value in vars(c).items() if name.isupper() and isinstance(value, str)}
    assert CONVENTIONS
    for convention in CONVENTIONS.values():
        for key in (*convention.required, *convention.ours, *convention.on_client):
            assert key in spelled


TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "int": int, "double": float, "boolean": bool}


def is_of(kind: str, example: object) -> bool:
    """Whether an example is of an attribute's type; that of an array is an array."""
    if kind.endswith("[]"):
        return isinstance(example, list) and all(is_of(kind.removesuffix("[]"), one) for one in example)
    return isinstance(example, TYPES[kind]) and (kind == "boolean" or not isinstance(example, bool))


def test_the_registry_keeps_the_rules_of_its_syntax() -> None:
    """What Weaver's `registry check` reports of a group or an attribute is not so here (semconv-syntax.md)."""
    document = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    assert set(document) == {"groups"}
    ids = [group["id"] for group in document["groups"]]
    assert len(ids) == len(set(ids))
    for group in document["groups"]:
        where = group["id"]
        assert group["brief"].strip(), where
        assert group["type"] in ("attribute_group", "event"), where
        assert group["stability"] == "development", where
        assert group["type"] != "event" or group["name"], where
        for attribute in group["attributes"]:
            if "ref" in attribute:
                assert not {"id", "type", "stability"} & set(attribute), attribute
                assert attribute["ref"] in AGENT_ATTRIBUTES, attribute
                continue
            assert set(attribute) <= {"id", "type", "stability", "brief", "note", "examples"}, attribute
            assert attribute["brief"].strip(), attribute
            assert attribute["stability"] == "development", attribute
            kind = attribute["type"]
            if isinstance(kind, dict):
                assert set(kind) == {"members"}, attribute
                for member in kind["members"]:
                    assert {"id", "value", "brief"} <= set(member), attribute
                    assert member["stability"] == "development", "no stable member of one that is not"
                continue
            assert attribute.get("examples") or not kind.startswith("string"), f"{attribute} has no examples"
            for example in attribute.get("examples", ()):
                assert is_of(kind, example), f"{attribute}: {example!r} is no {kind}"


def test_the_manifest_names_registry_and_version() -> None:
    """A definition manifest says its format and a schema URL that ends in a version (OpenTelemetry schema URL)."""
    manifest = yaml.safe_load((REGISTRY.parent / "manifest.yaml").read_text(encoding="utf-8"))
    assert set(manifest) <= {"file_format", "schema_url", "description", "dependencies", "stability"}
    assert manifest["file_format"] == "definition_manifest/2.0"
    assert re.fullmatch(r"https?://[^/]+(/[^/]+)+/\d+\.\d+\.\d+", manifest["schema_url"])
    assert manifest["stability"] == "development"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (c.MESSAGE_ATTEMPT, True, "is of type bool, not int"),
        (c.MESSAGE_ATTEMPT, "1", "is of type str, not int"),
        (c.DELEGATION_PATH, ["a", 1], "holds something else than strings; it is string[]"),
        (c.DECISION_INTENT, "x" * 257, "has 257 characters; 256 are allowed"),
        (c.DECISION_RISK, "huge", "is none of its values"),
        (c.APPROVAL_WAIT, 3, None),
        (c.MESSAGE_QUEUE_WAIT, 0.5, None),
        (c.GATE, "off", None),
    ],
)
def test_values_are_looked_at(key: str, value: object, says: str | None) -> None:
    """Type, list of values and bound are checked; the value itself is not quoted."""
    assert AGENT_ATTRIBUTES[key].wrong_with(value) == says
