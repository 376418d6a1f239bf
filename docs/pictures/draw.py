"""Draws two-trees.svg, the picture at the top of the README:  python docs/pictures/draw.py"""

from __future__ import annotations

from html import escape
from pathlib import Path

WIDTH, HEIGHT = 960, 384
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de }
  .text { fill: #1f2328 }
  .dim { fill: #656d76 }
  .bad { fill: #cf222e }
  .good { fill: #1a7f37 }
  .agent { fill: #0969da }
  .line { stroke: #8c959f; fill: none; stroke-width: 1.4 }
  .lost { stroke: #cf222e; stroke-dasharray: 4 4; fill: none; stroke-width: 1.4 }
  .decision { fill: #fff8c5; stroke: #d4a72c }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #30363d }
    .text { fill: #e6edf3 }
    .dim { fill: #8d96a0 }
    .bad { fill: #ff7b72 }
    .good { fill: #3fb950 }
    .agent { fill: #79c0ff }
    .line { stroke: #6e7681 }
    .lost { stroke: #ff7b72 }
    .decision { fill: #2b2412; stroke: #9e6a03 }
  }
"""
ROW = 24
Span = tuple[int, str, str]
"""Depth, class of its text, text."""

BROKEN: tuple[tuple[str, tuple[Span, ...]], ...] = (
    (
        "trace 4bf9…",
        (
            (0, "agent", "invoke_agent planner"),
            (1, "text", "chat"),
            (1, "text", "send scribe ▸ process scribe"),
            (1, "bad", "send infra      ✗ never received"),
        ),
    ),
    (
        "trace 91c0…     ✗ a second root",
        (
            (0, "bad", "process infra   ✗ whose?"),
            (1, "agent", "invoke_agent infra"),
            (2, "text", "chat"),
            (2, "bad", "execute_tool delete_volume"),
        ),
    ),
)
WHOLE: tuple[Span, ...] = (
    (0, "agent", "invoke_agent planner"),
    (1, "text", "chat"),
    (1, "text", "send scribe ▸ process scribe"),
    (2, "agent", "invoke_agent scribe"),
    (1, "text", "send infra ▸ process infra"),
    (2, "agent", "invoke_agent infra"),
    (3, "text", "chat"),
    (3, "text", "execute_tool delete_volume"),
)
DECISION = (
    ("intent", "remove the broken staging volume"),
    ("why", "its id stood beside a working token"),
    ("source", "file, not the operator"),
    ("risk", "destructive, not reversible"),
)


def main() -> None:
    """Write the picture beside this script."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}" font-size="13" '
        'role="img" aria-label="Left: a hand-off lost its trace context, so one run became two traces. '
        'Right: the same run as one tree, with the decision on the call that deleted a volume.">',
        f"<style>{STYLE}</style>",
        _card(8, 8, 462, HEIGHT - 16, "bad", "✗ a hand-off lost its context: two traces"),
        _card(490, 8, 462, HEIGHT - 16, "good", "✓ one tree, with the decision in it"),
    ]
    y = 66
    for title, spans in BROKEN:
        parts.append(_text(28, y, "dim", title))
        parts += _spans(36, y + ROW, spans)
        y += ROW * (len(spans) + 2)
    parts.append('<path class="lost" d="M 318 158 C 362 168 362 216 234 230"/>')
    parts.append(_text(358, 184, "bad", "traceparent"))
    parts.append(_text(358, 202, "bad", "lost"))
    parts.append(_text(510, 66, "dim", "trace 4bf9…"))
    parts += _spans(518, 66 + ROW, WHOLE)
    parts.append(_decision(556, 66 + ROW * (len(WHOLE) + 1) - 8))
    parts.append("</svg>\n")
    Path(__file__).with_name("two-trees.svg").write_text("\n".join(parts), encoding="utf-8")


def _text(x: float, y: float, kind: str, text: str, extra: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" xml:space="preserve"{extra}>{escape(text)}</text>'


def _card(x: int, y: int, width: int, height: int, kind: str, title: str) -> str:
    box = f'<rect class="card" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
    return box + _text(x + 20, y + 30, kind, title, ' font-weight="bold" font-size="14"')


def _spans(x: int, y: int, spans: tuple[Span, ...]) -> list[str]:
    """One row a span, with a line from its parent."""
    parts: list[str] = []
    last: dict[int, int] = {}
    for row, (depth, kind, text) in enumerate(spans):
        here = y + row * ROW
        left = x + depth * 24
        if depth:
            # From the sibling before it if there is one, so that no line is drawn twice.
            above = max(last[depth - 1] * ROW + 6, last.get(depth, -1) * ROW - 4)
            parts.append(f'<path class="line" d="M {left - 16} {y + above} V {here - 4} H {left - 5}"/>')
        last = {level: known for level, known in last.items() if level < depth} | {depth: row}
        parts.append(_text(left, here, kind, text))
    return parts


def _decision(x: int, y: int) -> str:
    height = 18 * len(DECISION) + 16
    lines = [
        f'<path class="line" d="M {x + 44} {y - 11} V {y}"/>',
        f'<rect class="decision" x="{x}" y="{y}" width="376" height="{height}" rx="6"/>',
    ]
    for row, (name, text) in enumerate(DECISION):
        at = y + 20 + 18 * row
        lines += [_text(x + 12, at, "dim", name), _text(x + 76, at, "text", text)]
    return "".join(lines)


if __name__ == "__main__":
    main()
