"""The decision contract: what counts as a record, how strictly it is read, what of it is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail_agents import DECISION_LOGGING_CONTRACT, contract
from handrail_agents.contract import DecisionRecord, RecordError
from handrail_agents.strict_json import StrictJSONError, loads
from handrail_propagation import conventions as names
from handrail_propagation.conventions import CONTEXT_SOURCES, RISKS

RECORD: dict[str, Any] = {
    "intent": "Free space on db-7.",
    "why": "The disk is full; archiving would take a day.",
    "context_source": "operator",
    "risk": "write",
    "reversible": True,
}


def test_the_prompt_asks_for_what_is_parsed() -> None:
    """A model that follows the prompt's words to the letter passes: each field and each word is in it."""
    for word in (contract.ARGUMENT, *DecisionRecord.model_fields, *CONTEXT_SOURCES, *RISKS):
        assert f'"{word}"' in DECISION_LOGGING_CONTRACT or f" {word}" in DECISION_LOGGING_CONTRACT, word


def test_record_is_taken_out_of_the_call() -> None:
    """The tool gets its own arguments and nothing of the record, given as an object or as its JSON text."""
    for given_as in (RECORD, json.dumps(RECORD)):
        split = contract.split(json.dumps({"host": "db-7", "_decision": given_as}))
        assert json.loads(split.arguments) == {"host": "db-7"}
        assert split.record == DecisionRecord(**RECORD)
        assert split.problem is None


def test_no_record_is_not_a_problem_of_its_own() -> None:
    """A call without record leaves both empty: whether that matters depends on the tool."""
    assert contract.split('{"host": "db-7"}') == contract.Split('{"host": "db-7"}', None, None)
    assert contract.split("") == contract.Split("{}", None, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"intent": ""},
        {"intent": "   "},
        {"intent": 5},
        {"intent": "x" * 2_001},
        {"why": None},
        {"why": "x" * 8_001},
        {"context_source": "the operator"},
        {"context_source": "Operator"},
        {"context_source": "model_generated"},
        {"risk": "low"},
        {"risk": 1},
        {"reversible": "yes"},
        {"reversible": 1},
        {"extra": "field"},
    ],
)
def test_a_malformed_record_is_none(changed: dict[str, Any]) -> None:
    """Wrong type, unknown word, missing or additional field: no record, and the field is named, not quoted."""
    with pytest.raises(RecordError) as refused:
        contract.parse({**RECORD, **changed})
    (field,) = changed
    assert field in str(refused.value)
    assert "x" * 50 not in str(refused.value)


@pytest.mark.parametrize("field", list(RECORD))
def test_every_field_is_required(field: str) -> None:
    """A record with a hole is no record."""
    with pytest.raises(RecordError, match=field):
        contract.parse({name: value for name, value in RECORD.items() if name != field})


@pytest.mark.parametrize(
    "raw", [None, True, 3, 1.5, [], [RECORD], "", "null", "not json", "[" * 100 + "]" * 100]
)
def test_what_is_no_object_is_no_record(raw: Any) -> None:
    """Anything may stand in the place of the record."""
    with pytest.raises(RecordError):
        contract.parse(raw)


def test_a_record_in_text_is_read_strictly() -> None:
    """Duplicate keys and NaN have no single meaning, so such a text is no record."""
    text = json.dumps(RECORD)
    with pytest.raises(RecordError, match="same key twice"):
        contract.parse(text[:-1] + ', "risk": "read"}')
    with pytest.raises(RecordError, match="NaN"):
        contract.parse(text.replace("true", "NaN"))


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever a model sends as arguments, it is split or refused, never anything else."""
    try:
        split = contract.split(text)
    except StrictJSONError:
        return
    assert isinstance(loads(split.arguments), dict)


@pytest.mark.parametrize("registered", RISKS)
@pytest.mark.parametrize("declared", [*RISKS, None])
def test_effective_risk_is_the_higher_one(registered: Any, declared: Any) -> None:
    """Nobody can talk a tool's risk down, and a model's own warning counts."""
    effective = contract.effective_risk(registered, declared)
    assert effective in (registered, declared)
    assert all(RISKS.index(effective) >= RISKS.index(one) for one in (registered, declared) if one)


def test_what_is_recorded_is_redacted_and_bounded() -> None:
    """A secret in the model's words does not reach a span, and no attribute is longer than its limit."""
    secret = "AKIA" + "Q3EGRIPE7Z2M4X5N"
    record = DecisionRecord(**{**RECORD, "intent": f"use {secret} " + "x" * 500, "why": f"{secret} " * 60})
    found = contract.attributes("d" * 32, record, "destructive", reversible=True)
    assert secret not in json.dumps(found)
    assert len(found[names.DECISION_INTENT]) <= names.INTENT_MAX_CHARS
    assert len(found[names.DECISION_REASONING]) <= names.REASONING_MAX_CHARS
    assert found[names.DECISION_RISK] == "destructive"
    assert found[names.DECISION_DECLARED_RISK] == "write"


@pytest.mark.parametrize(
    ("tool", "record", "effective"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_reversible_only_when_both_say_so(tool: bool, record: bool, effective: bool) -> None:
    """A model that calls a deletion reversible does not make it so."""
    found = contract.attributes(
        "d" * 32, DecisionRecord(**{**RECORD, "reversible": record}), "write", reversible=tool
    )
    assert found[names.DECISION_REVERSIBLE] is effective
    assert names.DECISION_DECLARED_RISK not in found


def test_schema_with_the_record() -> None:
    """The model sees `_decision` as a required argument beside the tool's own."""
    schema = contract.with_record(
        {"type": "object", "properties": {"host": {"type": "string"}}, "required": ["host"]}
    )
    assert schema["required"] == ["host", contract.ARGUMENT]
    assert schema["properties"][contract.ARGUMENT]["required"] == list(DecisionRecord.model_fields)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "same key twice"),
        ('{"a": {"b": 1, "b": 1}}', "same key twice"),
        ("[NaN]", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[1e999]", "out of range"),
        ("[" + "9" * 500 + "]", "out of range"),
        ('["\\ud800"]', "surrogate"),
        ("[" * 40 + "]" * 40, "deeper"),
        ("{} {}", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ("", "not JSON"),
        (" " * 262_145, "longer"),
    ],
)
def test_json_with_more_than_one_meaning(text: str, why: str) -> None:
    """Each ambiguity that Python's parser lets pass is an error here."""
    with pytest.raises(StrictJSONError, match=why):
        loads(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_unambiguous_json_is_read_as_it_is(value: Any) -> None:
    """What has one meaning keeps it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return
    assert loads(text, max_depth=1_000) == value
