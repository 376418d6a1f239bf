"""What is decided about a call, and what passes between processes: the gate, headers, outcomes, leases."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail_agents import lease, outcomes
from handrail_agents.agent import Agent
from handrail_agents.decisions import Decision, Request, decide
from handrail_agents.errors import ConfigurationError
from handrail_agents.gate import Gate
from handrail_agents.handoff import BadHeader, Header
from handrail_agents.journal import Invocation
from handrail_agents.outcomes import Approval, Call, Done, Failed, InDoubt, Refused, Waiting
from handrail_agents.tools import Tool

RECORD = {"intent": "i", "why": "w", "context_source": "operator", "risk": "write", "reversible": True}
RUN = Invocation("a" * 32, "b" * 32, "cleaner")


def look(host: str) -> None:
    """Look."""


def note(host: str) -> None:
    """Write."""


def wipe(host: str) -> None:
    """Wipe."""


def grant(host: str) -> None:
    """Change access."""


AGENT: Agent[Any, Any] = Agent(
    lambda run: None,
    name="cleaner",
    tools=[
        Tool(look, risk="read"),
        Tool(note, risk="write", touches="disk://{host}"),
        Tool(wipe),
        Tool(grant, risk="access_change"),
    ],
)


def judge(tool: str, arguments: Any = None, *, gate: Gate | None = None, **record: Any) -> Decision:
    """Decide on a call with `host` and, where given, a record."""
    document = {"host": "h"} if arguments is None else arguments
    if record:
        document = {**document, "_decision": {**RECORD, **record}}
    text = document if isinstance(document, str) else json.dumps(document)
    return decide(AGENT, RUN, 3, Request(tool, text), gate or Gate())


def test_what_runs_at_once() -> None:
    """Reading needs no record; a change runs with one."""
    assert judge("look").disposition == "executed"
    assert judge("note", risk="write").disposition == "executed"
    assert judge("note", risk="write").touches == ["disk://h"]
    assert judge("look", risk="read").record is not None


@pytest.mark.parametrize("tool", ["note", "wipe", "grant"])
def test_no_record_no_call(tool: str) -> None:
    """Above `read` nothing runs without a record; a broken one counts as none, also on a reading call."""
    assert judge(tool).disposition == "no_decision_record"
    assert judge(tool, risk="low").disposition == "no_decision_record"
    assert judge("look", risk="low").disposition == "no_decision_record"
    assert judge(tool).ready is None


@pytest.mark.parametrize(
    ("tool", "declared"),
    [("wipe", "read"), ("grant", "write"), ("note", "destructive"), ("look", "access_change")],
)
def test_what_waits_for_a_human(tool: str, declared: str) -> None:
    """The effective risk decides: what the tool is, or what the model fears, whichever is higher."""
    decision = judge(tool, risk=declared)
    assert decision.disposition == "awaiting_approval"
    assert decision.ready is not None
    assert decision.ready.call.args_digest == decision.digest


def test_arguments_come_before_the_record() -> None:
    """A call that could not run anyway is told so first, whatever its record says."""
    for arguments in (
        {},
        {"host": 5},
        {"host": "h", "force": True},
        "[1]",
        "{",
        '{"host": "a", "host": "b"}',
    ):
        assert judge("wipe", arguments).disposition == "invalid_arguments"
    assert judge("wipe", {"host": 5}, risk="low").disposition == "invalid_arguments"


def test_an_unknown_tool_is_not_named_after_the_models_text() -> None:
    """The model's text does not become a span's name; the answer lists what there is."""
    decision = judge("rm -rf /")
    assert (decision.disposition, decision.tool_name) == ("unknown_tool", "unknown")
    assert "look, note, wipe, grant" in decision.detail


def test_the_same_call_has_the_same_id_on_every_replay() -> None:
    """The decision's id follows from where the call is in the run."""
    assert judge("look").decision_id == judge("look").decision_id
    other = decide(AGENT, RUN, 4, Request("look", '{"host": "h"}'), Gate())
    assert other.decision_id != judge("look").decision_id


class BrokenGate(Gate):
    def decide(self, call: Call) -> Any:
        raise RuntimeError("the policy server is down")


class OddGate(Gate):
    def decide(self, call: Call) -> Any:
        return "maybe"


def test_the_gate_fails_closed() -> None:
    """An exception in the gate is a refusal; an answer that it does not have lets nothing through."""
    assert judge("note", gate=BrokenGate(), risk="write").disposition == "denied"
    assert judge("note", gate=OddGate(), risk="write").disposition == "awaiting_approval"


def test_gate_off_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Switching it off is loud: once when made, and at every call that it lets through."""
    with caplog.at_level(logging.WARNING):
        gate = Gate("off")
        decision = judge("wipe", gate=gate, risk="destructive")
    assert (decision.disposition, decision.let_through) == ("executed", True)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("GATE IS OFF" in record.message for record in caplog.records)
    assert judge("note", gate=gate, risk="write").let_through is False
    with pytest.raises(ConfigurationError):
        Gate("Off")  # type: ignore[arg-type]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["v", "kind", "run", "invocation", "x"]), inner)
        ),
    )
)
def test_hostile_headers_are_refused(value: Any) -> None:
    """Nothing but our own form is a header, and the refusal does not quote it."""
    with pytest.raises(BadHeader):
        Header.parse(value)


@pytest.mark.parametrize("kind", ["start", "wake"])
def test_headers_survive_the_wire(kind: Any) -> None:
    """What was sent is what is read; every single deviation is refused."""
    header = Header(kind, "a" * 32, "b" * 32)
    wire = json.loads(json.dumps(header.to_dict()))
    assert Header.parse(wire) == header
    for change in (
        {"v": 2},
        {"v": True},
        {"kind": "stop"},
        {"kind": ["start"]},
        {"run": "A" * 32},
        {"run": "a" * 31},
        {"invocation": 5},
        {"more": 1},
    ):
        with pytest.raises(BadHeader):
            Header.parse({**wire, **change})


CALL = Call("r" * 32, "i" * 32, 4, "infra", "wipe", "destructive", ("disk://a", "disk://b"), "d" * 64)


@pytest.mark.parametrize(
    "outcome",
    [
        Done({"a": [1, None, "ü"]}),
        Done(),
        Waiting(Approval("x" * 32, CALL)),
        InDoubt(CALL),
        Refused(CALL, "no"),
        Failed("E", "m"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_outcomes_survive_the_journal(outcome: Any) -> None:
    """What is read back equals what was stored."""
    assert outcomes.from_text(outcomes.to_text(outcome)) == outcome


def test_a_dead_holder_is_known_and_a_living_one_is_not() -> None:
    """A process of this machine that has ended lets its lease go at once; anything unclear does not."""
    code = "from handrail_agents import lease; print(lease.new_holder())"
    dead = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert lease.holder_is_dead(dead)
    assert not lease.holder_is_dead(lease.new_holder())
    machine, pid, _, nonce = lease.new_holder().split(" ")
    assert int(pid) == os.getpid()
    assert lease.holder_is_dead(f"{machine} {pid} 1 {nonce}"), "the process id was given to another process"
    for unclear in ("", "elsewhere 1 2 3", f"{machine} x 2 3", f"{machine} 1 2"):
        assert not lease.holder_is_dead(unclear)


def test_children_have_the_same_ids_on_every_replay() -> None:
    """A delegation that is sent again after a crash reaches the child that is there already."""
    first, again = RUN.child(2, 0, "scout"), RUN.child(2, 0, "scout")
    assert first == again
    assert first.path == ("cleaner",)
    assert first.caller == "cleaner"
    assert len({RUN.child(step, index, "scout").id for step in range(5) for index in range(5)}) == 25
