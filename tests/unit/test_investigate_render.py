"""What is shown on a terminal: the important first, bounded, readable without colour, safe from what is in a trace."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from handrail_harness.investigate import investigate
from handrail_harness.printable import printable
from handrail_harness.render import render_investigation, render_report
from handrail_harness.rules import check
from handrail_harness.spans import Span
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_propagation import conventions as c

from .support.runs import MemorySource, RunBuilder, caused_by, cleanup_run
from .test_investigate_answers import wipe


def shown(renderable: RenderableType, width: int = 100, encoding: str = "utf-8", colour: bool = False) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    console.print(renderable, soft_wrap=False)
    stream.flush()
    return raw.getvalue().decode(encoding)


def picture(spans: list[Span], *, full: bool = False, **how: object) -> str:
    return shown(render_investigation(investigate(MemorySource(spans)), full=full), **how)  # type: ignore[arg-type]


def test_the_headline_says_who_did_what() -> None:
    """The first line with words is the verdict: agent, what it did, to what, and why that is wrong."""
    first = next(line for line in picture(wipe().spans).splitlines() if line.strip())
    assert first.strip().startswith("✗ infra destroyed volume://prod/1 and 1 more without approval")


def test_the_culprits_branch_is_marked_without_colour() -> None:
    """Sign, words and the line at the left mark the culprit and the way to it."""
    lines = picture(wipe().spans).splitlines()
    culprit = next(line for line in lines if "◀ culprit" in line)
    assert culprit.lstrip().startswith("✗")
    assert "volume_delete" in culprit
    marked = [line for line in lines if line.lstrip().startswith("┃")]
    assert any("planner" in line for line in marked)
    assert any("infra" in line for line in marked)


def test_a_hand_off_is_one_line_with_its_reason() -> None:
    """Delegation, send, receipt and agent are one line; the reason stands below it."""
    tree = picture(wipe().spans).partition("WHAT IT DID")[0]
    assert tree.count("infra") == 2  # the headline and its line
    assert '"credentials do not match"' in tree
    assert "send infra" not in tree
    assert "process infra" not in tree


def test_the_three_answers_and_the_findings_are_there() -> None:
    """Sections in the order in which a responder asks."""
    text = picture(wipe().spans)
    places = [text.index(title) for title in ("WHAT IT DID", "WHY", "WHAT IT TOUCHED", "FINDINGS")]
    assert places == sorted(places)
    for part in (
        '"a token was lying there"',
        "declared: file",
        "operator",
        "sha256:0123456789ab",
        "unapproved_effect",
    ):
        assert part in text
    assert "docs/findings/" in text


def test_a_clean_run_says_so() -> None:
    """Nothing wrong is said in words."""
    assert "✓ nothing wrong found; 2 effects" in picture(cleanup_run().spans)


def test_a_stopped_run_says_what_it_waits_for() -> None:
    """A run that stopped before the deletion says so first."""
    run = RunBuilder()
    with run.handoff("infra"):
        waiting = {c.TOOL_DISPOSITION: "awaiting_approval", c.APPROVAL_ID: None, c.APPROVAL_OUTCOME: None}
        run.call("volume_delete", "destructive", **waiting)
    assert "stopped: infra waits for approval of volume_delete" in picture(run.spans)


def test_a_broken_tree_is_drawn_as_it_is() -> None:
    """A torn branch stands in its own trace, and the hand-off it belongs to is marked."""
    spans, _, _ = lost_traceparent(
        wipe().spans, lambda among: next(span for span in among if span.name.endswith(" infra"))
    )
    text = picture(spans)
    assert "not one unified tree" in text
    assert "(1 of 2)" in text
    assert "(2 of 2)" in text
    assert "hand-off lost its trace context" in text


def test_tasks_are_drawn_by_their_names() -> None:
    """Without agents a hand-off is named after its task, with its queue beside it; other tasks are other lines."""
    run = RunBuilder()
    with run.inside("checkout"):
        for task in ("shop.receipt", "shop.mail", "shop.mail", "shop.mail"):
            with run.received(run.send("celery"), **{c.CELERY_TASK_NAME: task}):
                pass
    text = picture(run.spans)
    assert "shop.receipt  queue celery" in text
    folded = next(line for line in text.splitlines() if "shop.mail" in line)
    assert "× 3" in folded  # noqa: RUF001


def test_alike_siblings_are_folded() -> None:
    """A thousand alike calls are one line with their number."""
    run = RunBuilder()
    with run.handoff("a"):
        for _ in range(1000):
            run.call("read_page")
    text = picture(run.spans)
    assert text.count("read_page") == 1
    assert "× 1,000" in text  # noqa: RUF001


def test_output_is_bounded_and_full_is_not() -> None:
    """Thousands of different spans fit on some screens; what is left out is counted, and --full shows it."""
    run = RunBuilder()
    with run.handoff("a"):
        for at in range(3000):
            run.call(f"tool_{at}", "write")
        run.call("volume_delete", "destructive", agent__approval__id=None)
    spans = run.spans
    bounded = picture(spans)
    assert len(bounded.splitlines()) < 600
    assert "◀ culprit" in bounded
    assert "more spans (--full shows all)" in bounded
    assert "tool_2999" in picture(spans, full=True)


def test_a_deep_chain_shows_both_ends() -> None:
    """The way to a culprit 30,000 spans down is cut in the middle, and says how much is left out."""
    spans = []
    for at in range(30_000):
        parent = f"{at:016x}" if at else ""
        spans.append(
            Span("a" * 32, f"{at + 1:016x}", parent, f"step {at}", "internal", at, at + 1, {c.RUN_ID: "r"})
        )
    drop = wipe().spans[-4]
    assert drop.text(c.APPROVAL_ID) == ""
    tool = next(span for span in wipe().spans if span.name == "execute_tool volume_delete")
    spans.append(
        replace(
            tool, trace_id="a" * 32, span_id="f" * 16, parent_span_id=spans[-1].span_id, start_unix_nano=2**60
        )
    )
    text = picture(spans)
    assert "step 0" in text
    assert "step 29999" in text
    assert "◀ culprit" in text
    assert len(text.splitlines()) < 250


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Narrow terminals get every section, cut or folded to their width."""
    for line in picture(wipe().spans, width=width).splitlines():
        assert len(line) <= width


def test_ascii_terminals_get_ascii() -> None:
    """A terminal without Unicode gets signs that it has."""
    run = wipe()
    spans = [replace(span, name=span.name + " ü") for span in run.spans]
    text = picture(spans, encoding="ascii")
    assert "X infra destroyed" in text
    assert "< culprit" in text
    assert "one unified tree" in shown(render_report(check(MemorySource(spans))), encoding="ascii")


NASTY = (
    "\x1b[2J\x1b]0;owned\x07[bold red]x[/] \u202eevil\u2066 \x9b31m \u200b"
    " a\nb\r\x00 [link=http://x]y[/link] \ud800"
)


def test_names_cannot_drive_the_terminal() -> None:
    """Escapes, control characters, markup and direction marks in any name or text come out as visible characters."""
    run = RunBuilder(NASTY)
    with run.handoff(NASTY, NASTY):
        asked = run.chat(NASTY)
        with run.tool(
            NASTY,
            "destructive",
            asked_by=asked,
            agent__approval__id=None,
            agent__tool__touches=[NASTY, f"http://h/{NASTY}"],
            agent__tool__credential__id=NASTY,
            agent__decision__intent=NASTY,
            agent__decision__reasoning=NASTY,
            agent__decision__context_source=NASTY,
        ):
            run.add(
                NASTY,
                "client",
                {"db.system": NASTY, "db.statement": " ".join(("DELETE FROM", NASTY))},
                status_code="error",
            )
        with run.inside(NASTY, "producer", {c.MESSAGING_DESTINATION_NAME: NASTY, c.ERROR_TYPE: NASTY}):
            pass
        run.add(NASTY, links=[caused_by(asked)])
    source = MemorySource(run.spans)
    for text in (picture(run.spans), shown(render_report(check(source)))):
        assert [character for character in text if not character.isprintable() and character != "\n"] == []
        assert "[bold red]" in text or "queue" in text
    coloured = picture(run.spans, colour=True)
    assert "\x1b[2J" not in coloured
    assert "\x1b]" not in coloured


@given(st.text())
@settings(max_examples=300)
def test_printable_is_printable(text: str) -> None:
    """Any text becomes one printable line within its limit."""
    assert printable(text, 50).isprintable()
    assert len(printable(text, 50)) <= 50


def test_plain_text_is_left_alone() -> None:
    """Ordinary words in any script stay as they are."""
    assert printable("delete überflüssige 表", 100) == "delete überflüssige 表"


@pytest.mark.parametrize("start", [0, 1, 2**63, 2**64 - 1])
def test_absurd_clocks_are_shown_as_such(start: int) -> None:
    """A time outside of any calendar, and an end before its start, are no reason to fail."""
    spans = [replace(span, start_unix_nano=start, end_unix_nano=0) for span in wipe().spans]
    assert "infra" in picture(spans)
