"""Queries, shapes and relations: what holds, what does not, and that nothing passes over an empty selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from handrail_harness import agent, handoff, task, tool
from handrail_harness.errors import EmptySelection, RelationFailed, RunAssertion
from handrail_harness.investigate import investigate
from handrail_harness.shapes import Shape
from handrail_harness.shapes.matching import mismatches, near_misses
from handrail_harness.shapes.selection import StepSelection, along
from handrail_harness.shapes.steps import Step, Steps, steps_of
from handrail_harness.spans import Span
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_propagation import conventions as c

from .support.runs import MemorySource, RunBuilder, cleanup_run, edited


def steps(spans: Sequence[Span]) -> Steps:
    return steps_of(investigate(MemorySource(spans)).view)


@pytest.fixture(scope="module")
def cleanup() -> Steps:
    return steps(cleanup_run().spans)


def select(found: Steps, name: str) -> StepSelection:
    members = [step for step in found.all if step.name == name and step.kind != "chat"]
    return StepSelection(f"run.steps({name!r})", members, instead=lambda: near_misses(name, found.all))


def texts(found: Steps, *shapes: Shape, in_order: bool = False, exact: bool = False) -> list[str]:
    return [one.text for one in mismatches(shapes, found, in_order=in_order, exact=exact)]


WHOLE = agent(
    "cleaner",
    handoff("scout", tool("table_sizes", disposition="executed"), times=2),
    tool("drop_table", risk="destructive"),
    tool("notify"),
)


@pytest.mark.parametrize(
    ("shape", "exact"),
    [
        (agent("cleaner"), False),
        (handoff("cleaner", handoff("scout")), False),
        (agent("cleaner", tool("notify"), handoff("scout", times=2)), False),
        (agent("cleaner", handoff("scout", times=2), tool("drop_table"), in_order=True), False),
        (agent("cleaner", tool("refund", times=0)), False),
        (agent("cleaner", handoff("scout", attempts=1), handoff("scout")), False),
        (replace(WHOLE, exact=True), True),
    ],
    ids=str,
)
def test_shapes_that_hold(cleanup: Steps, shape: Shape, exact: bool) -> None:
    """Partial shapes need what they list, in any order; `times`, `in_order`, `exact` and facts narrow them."""
    assert texts(cleanup, shape, exact=exact) == []


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (agent("claener"), "did you mean 'cleaner'?"),
        (agent("scout"), "no agent('scout') at the top; one is inside agent cleaner"),
        (agent("cleaner", handoff("scout", times=3)), "found 2 of 3"),
        (
            agent("cleaner", handoff("scout", times=1)),
            "handoff('scout', times=1) wanted in agent cleaner, found 2",
        ),
        (
            agent("cleaner", tool("notify", times=0)),
            "tool('notify', times=0) wanted in agent cleaner, found 1",
        ),
        (
            agent("cleaner", tool("drop_table", disposition="denied")),
            "disposition of tool drop_table is 'executed'",
        ),
        (agent("cleaner", handoff("scout", tool("drop_table"))), "one is inside agent cleaner"),
        (
            agent("cleaner", handoff("scout"), handoff("scout"), handoff("scout")),
            "no handoff('scout') in agent",
        ),
        (agent("cleaner", tool("notify"), tool("drop_table"), in_order=True), "is not in the order"),
        (agent("cleaner", handoff("scout"), exact=True), "handoff scout was not asked for in agent cleaner"),
        (task("cleaner"), "no task('cleaner')"),
    ],
    ids=str,
)
def test_shapes_that_do_not_hold(cleanup: Steps, shape: Shape, told: str) -> None:
    """What does not fit is told with the nearest miss, at the span where it is."""
    found = mismatches([shape], cleanup)
    assert any(told in one.text for one in found), [one.text for one in found]
    assert all(one.span is not None for one in found)


def test_every_sibling_is_used_once(cleanup: Steps) -> None:
    """Two shapes that both fit one step need two steps, and a greedy choice never loses a possible assignment."""
    wide, narrow = tool("drop_table"), tool("drop_table", risk="destructive")
    assert texts(cleanup, agent("cleaner", wide, narrow)) != []
    run = RunBuilder()
    with run.handoff("cleaner"):
        run.call("drop_table", "destructive")
        run.call("drop_table", "read")
    found = steps(run.spans)
    assert texts(found, agent("cleaner", wide, narrow)) == []
    assert texts(found, agent("cleaner", narrow, wide)) == []


def test_a_torn_branch_is_not_mended() -> None:
    """A hand-off that lost its header shows as one never received, and its work at the top."""
    spans, _, send_id = lost_traceparent(cleanup_run().spans, lambda choices: choices[-1])
    found = steps(spans)
    torn = next(step for step in found.all if any(span.span_id == send_id for span in step.spans))
    assert (torn.name, torn.handed_off, torn.deliveries) == ("scout", True, 0)
    assert len(found.tops) == 2
    assert texts(found, agent("cleaner", handoff("scout", tool("table_sizes"), times=2))) != []


def test_attempts_and_wakes_are_no_steps_of_their_own() -> None:
    """Deliveries of one message are one step with attempts; a message that only wakes an agent is none."""
    run = RunBuilder()
    with run.handoff("cleaner"), run.handoff("scout", message_id="m-1") as spans:
        pass
    again = replace(
        spans["process"], span_id=f"{77:016x}", start_unix_nano=spans["process"].start_unix_nano + 1
    )
    wake = replace(
        spans["send"],
        span_id=f"{78:016x}",
        parent_span_id=spans["process"].span_id,
        attributes={**spans["send"].attributes, c.CELERY_TASK_NAME: "cleaner", c.MESSAGING_MESSAGE_ID: "m-2"},
    )
    woken = replace(
        spans["process"],
        span_id=f"{79:016x}",
        parent_span_id=wake.span_id,
        attributes={
            **spans["process"].attributes,
            c.CELERY_TASK_NAME: "cleaner",
            c.MESSAGING_MESSAGE_ID: "m-2",
        },
    )
    found = steps([*run.spans, again, wake, woken])
    assert [step.label() for step in found.all] == ["agent cleaner", "handoff scout"]
    assert select(found, "scout").only().attempts == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda none: bool(none),
        lambda none: len(none) == 0,
        lambda none: all(step.risk == "read" for step in none),
        lambda none: list(none),
        lambda none: none[0],
        lambda none: none.only(),
        lambda none: none.times(2),
        lambda none: none.before(none),
        lambda none: bool(none.delegated_to("scout")),
        lambda none: bool(none.where(disposition="denied")),
    ],
)
def test_an_empty_selection_never_passes(cleanup: Steps, use: object) -> None:
    """Whatever an assertion does with it raises, with what is there instead."""
    none = select(cleanup, "drop_tabel")
    assert callable(use)
    with pytest.raises(EmptySelection, match="drop_table"):
        use(none)
    assert repr(none) == "<run.steps('drop_tabel'): 0>"


def test_absence_has_to_be_said(cleanup: Steps) -> None:
    """`absent()` is the only way to say that nothing happened, and a name that cannot occur is refused."""
    assert select(cleanup, "refund").absent() is not None
    assert select(cleanup, "refund").times(0) is not None
    with pytest.raises(RunAssertion, match="it has 2"):
        select(cleanup, "scout").absent()
    unknown = StepSelection("run.tools('drop_tabel')", [], instead=lambda: "", known=lambda: "no such tool")
    with pytest.raises(RunAssertion, match="cannot have a member: no such tool"):
        unknown.absent()


def test_words_that_a_fact_never_has_are_refused(cleanup: Steps) -> None:
    """A misspelt value of an enumeration would make an absence true; a name is looked for with a query, not `in`."""
    dropped = select(cleanup, "drop_table")
    for facts, meant in (({"disposition": "exectued"}, "executed"), ({"risk": "destructiv"}, "destructive")):
        with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
            dropped.where(**facts)
    with pytest.raises(ValueError, match="result is never 'fine'; it is one of ok, error, none"):
        tool("drop_table", result="fine", times=0)
    dropped.where(disposition="").absent()
    with pytest.raises(TypeError, match="holds steps, not names"):
        assert "refund" not in dropped


def test_selections_are_narrowed_and_counted(cleanup: Steps) -> None:
    """`where`, `only` and `times` say exactly which and how many."""
    scouts = select(cleanup, "scout")
    assert scouts.times(2)[0].path == ("cleaner", "scout")
    assert {step.kind for step in scouts} == {"agent"}
    with pytest.raises(RunAssertion, match="has 2 members, not one"):
        scouts.only()
    with pytest.raises(RunAssertion, match="wanted 3"):
        scouts.times(3)
    dropped: Step = select(cleanup, "drop_table").where(disposition="executed", result="ok").only()
    assert (dropped.risk, dropped.attribute(c.DECISION_CONTEXT_SOURCE)) == ("destructive", "operator")
    with pytest.raises(EmptySelection, match="there is disposition executed"):
        assert select(cleanup, "drop_table").where(disposition="denied")


def test_relations(cleanup: Steps) -> None:
    """Who delegated to whom, what was before what, and the way from one step to another."""
    cleaner = select(cleanup, "cleaner")
    assert cleaner.delegated_to("scout").times(2)
    with pytest.raises(EmptySelection, match="there is handoff scout x2"):
        assert cleaner.delegated_to("drop_table")
    assert select(cleanup, "table_sizes").before(select(cleanup, "drop_table"))
    with pytest.raises(RelationFailed, match="was not before"):
        select(cleanup, "drop_table").before(select(cleanup, "table_sizes"))
    assert len(along(cleanup.all, ["cleaner", "scout", "table_sizes"])) == 2
    assert along(cleanup.all, ["scout", "drop_table"]) == []


def test_plain_celery_tasks_are_steps() -> None:
    """Without agents the steps are tasks by name, whichever instrumentation recorded them."""
    run = RunBuilder()
    root = run.add("test", "internal", {})
    stock = {c.CELERY_TASK_NAME: "shop.charge", c.MESSAGING_MESSAGE_ID: "m-1"}
    send = replace(run.add("apply_async/shop.charge", "producer", stock), parent_span_id=root.span_id)
    work = replace(run.add("run/shop.charge", "consumer", stock), parent_span_id=send.span_id)
    found = steps([root, send, work])
    assert texts(found, task("shop.charge", attempts=1), exact=True) == []
    assert texts(found, handoff("shop.charge")) == []


def test_wrong_words_are_refused_when_written() -> None:
    """A shape that could never mean anything is an error in the test, not a failure of the run."""
    with pytest.raises(TypeError, match="is no shape"):
        agent("cleaner", "scout")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="times=-1"):
        tool("x", times=-1)


def test_marks_do_not_depend_on_arrival(cleanup: Steps) -> None:
    """Spans in another order give the same steps."""
    spans = cleanup_run().spans
    assert [step.label() for step in steps(spans[::-1]).all] == [step.label() for step in cleanup.all]
    assert edited(spans, spans[0], lambda span: span) == list(spans)
