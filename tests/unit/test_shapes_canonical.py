"""Canonical shape texts: the same for the same run, and a comparison that names the subtree that moved."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from handrail_harness.investigate import investigate
from handrail_harness.otlpjson import write_otlp_json
from handrail_harness.shapes.canonical import changes, parse, shape_text
from handrail_harness.shapes.steps import steps_of
from handrail_harness.sources.otlpfile import OTLPFileSource
from handrail_harness.spans import LogEvent, Span

from .support.runs import MemorySource, cleanup_run

GOLDEN = """\
agent cleaner
  handoff scout x2
    tool table_sizes  (read, executed)
  tool drop_table  (destructive, executed)
  tool notify  (external, executed)
"""


def text(spans: list[Span], *, in_order: bool = False) -> str:
    return shape_text(steps_of(investigate(MemorySource(spans)).view), in_order=in_order)


def test_text_has_neither_ids_nor_times() -> None:
    """The text of a run is what a person would write down, and reads back as the same tree."""
    assert text(cleanup_run().spans) == GOLDEN
    assert "".join(branch.text() + "\n" for branch in parse(GOLDEN)) == GOLDEN


def test_text_does_not_depend_on_order() -> None:
    """Spans that arrive, and siblings that run, in another order give the same text."""
    spans = list(cleanup_run().spans)
    for seed in range(5):
        random.Random(seed).shuffle(spans)
        assert text(spans) == GOLDEN


def test_order_is_kept_where_asked() -> None:
    """With `in_order` siblings stand as they began."""
    kinds = [
        line.split("(")[0].strip() for line in text(list(cleanup_run().spans), in_order=True).splitlines()
    ]
    assert kinds == [
        "agent cleaner",
        "handoff scout x2",
        "tool table_sizes",
        "tool drop_table",
        "tool notify",
    ]


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (
            "agent cleaner\n  handoff scout x2\n    tool table_sizes  (read, executed)\n"
            "    tool notify  (external, executed)\n  tool drop_table  (destructive, executed)\n",
            [
                "moved: tool notify  (external, executed), from agent cleaner to agent cleaner / handoff scout",
                "new: tool notify  (external, executed), in agent cleaner / handoff scout",
            ],
        ),
        (
            GOLDEN.replace("(destructive, executed)", "(destructive, denied)"),
            [
                "gone: tool drop_table  (destructive, executed), in agent cleaner",
                "new: tool drop_table  (destructive, denied), in agent cleaner",
            ],
        ),
        (
            GOLDEN.replace("scout x2", "scout"),
            ["gone: handoff scout and 1 below it, in agent cleaner"],
        ),
        (
            GOLDEN.replace("  handoff scout x2\n    tool table_sizes  (read, executed)\n", "")
            + "agent other\n  handoff scout x2\n    tool table_sizes  (read, executed)\n",
            [
                "moved: handoff scout and 1 below it, from agent cleaner to agent other",
                "new: agent other and 2 below it, in the top",
            ],
        ),
        (GOLDEN, []),
    ],
)
def test_changes_name_the_subtree(actual: str, told: list[str]) -> None:
    """What moved is told as moved, from where to where; the rest as gone and new, outermost first."""
    assert changes(GOLDEN, actual) == told


def test_saved_runs_read_back_the_same(tmp_path: Path) -> None:
    """OTLP-JSON written for a failed test gives every span and event back, field for field."""
    odd = Span(
        trace_id="ab" * 16,
        span_id="cd" * 8,
        parent_span_id="",
        name='quotes " and ⏎',
        kind="unspecified",
        start_unix_nano=1,
        end_unix_nano=2**62,
        attributes={
            "s": "é",
            "b": True,
            "i": -(2**60),
            "d": 1.5,
            "l": ["a", 1],
            "m": {"k": None},
            "y": b"\x00",
        },
        status_code="error",
        status_message="Boom",
        trace_state="a=b",
        flags=0x101,
        resource={"service.name": "x"},
        scope_name="s",
    )
    event = LogEvent(
        "ab" * 16, "cd" * 8, "agent.decision", 5, {"agent.decision.id": "d"}, {"service.name": "x"}
    )
    spans = [odd, *cleanup_run().spans]
    path = tmp_path / "deep" / "run.json"
    write_otlp_json(path, spans, [event])
    source = OTLPFileSource(path)
    back = [span for trace_id in {span.trace_id: None for span in spans} for span in source.spans(trace_id)]
    assert sorted(back, key=repr) == sorted(spans, key=repr)
    assert list(source.events("ab" * 16)) == [event]
    assert path.stat().st_mode & 0o077 == 0
