"""From spans to what is drawn: a delegation's four spans become one line, alike siblings one, the rest is
counted.

Builds and cuts without recursion, so that a chain of 100,000 spans costs time but no stack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from handrail_harness.effects import RunView
from handrail_harness.effects.view import is_operation
from handrail_harness.findings.base import SEVERITIES, Finding
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    CELERY_TASK_NAME,
    DECISION_INTENT,
    DECISION_RISK,
    DELEGATION_REASON,
    GEN_AI_AGENT_NAME,
    MESSAGING_DESTINATION_NAME,
    OPERATION_INVOKE_AGENT,
    TOOL_DISPOSITION,
    TOOL_RESULT_STATUS,
)

_ALIKE_AT_LEAST = 3
_PATH_ENDS = 15


@dataclass(eq=False, slots=True)
class Node:
    """One line of the picture: the spans that it stands for, outermost first, and what hangs below.

    An empty `spans` is a gap: `hidden` spans are not shown there. `times` counts alike siblings folded
    into one.
    """

    spans: list[Span]
    children: list[Node] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    on_path: bool = False
    important: bool = False
    times: int = 1
    hidden: int = 0
    below: int = 0

    @property
    def head(self) -> Span:
        """The outermost span of the line."""
        return self.spans[0]

    def text(self, key: str) -> str:
        """Return the first text that a span of the line has for an attribute, outermost first; else `""`."""
        return next((text for span in self.spans if (text := span.text(key))), "")

    def agent(self) -> Span | None:
        """Return the agent's own span among those of the line."""
        return next((span for span in self.spans if _is_agent(span)), None)


def build_nodes(
    view: RunView, findings: Iterable[Finding], path: Iterable[Span], effects: Iterable[Span]
) -> list[Node]:
    """Return the tops of the picture, folded."""
    found: dict[int, list[Finding]] = {}
    for finding in findings:
        found.setdefault(id(finding.span), []).append(finding)
    marked = {id(span) for span in path}
    wanted = {id(span) for span in effects}

    nodes: dict[int, Node] = {}
    preorder: list[Node] = []
    tops: list[Node] = []
    for span, parent, _ in view.forest.walk():
        node = Node(
            [span],
            findings=found.get(id(span), []),
            on_path=id(span) in marked,
            important=id(span) in marked or id(span) in wanted or id(span) in found,
        )
        nodes[id(span)] = node
        preorder.append(node)
        (tops if parent is None else nodes[id(parent)].children).append(node)
    for node in reversed(preorder):
        _absorb(node)
        _fold(node)
        node.important = node.important or any(child.important for child in node.children)
        node.below = sum(len(child.spans) * child.times + child.below for child in node.children)
    return tops


def cut(tops: list[Node], limit: int) -> list[Node]:
    """Return at most about `limit` lines: the way to the culprit, what is important, then the upper
    levels.
    """
    order: list[Node] = []
    above: dict[int, Node | None] = {}
    queue: deque[tuple[Node, Node | None]] = deque((top, None) for top in tops)
    while queue:
        node, parent = queue.popleft()
        order.append(node)
        above[id(node)] = parent
        queue.extend((child, node) for child in node.children)
    if len(order) <= limit:
        return tops
    path = [node for node in order if node.on_path]
    chosen = [*path[:_PATH_ENDS], *path[-_PATH_ENDS:]] if len(path) > 2 * _PATH_ENDS else path
    kept = {id(node) for node in chosen}
    for wanted in (True, False):
        for node in order:
            parent = above[id(node)]
            if len(kept) >= limit:
                break
            if node.important is wanted and (parent is None or id(parent) in kept):
                kept.add(id(node))

    shown: dict[int, Node] = {}
    gaps: dict[int, Node] = {}
    nearest: dict[int, Node | None] = {}
    result: list[Node] = []
    roots_gap = Node([])
    for node in order:
        parent = above[id(node)]
        keeper = None if parent is None else parent if id(parent) in kept else nearest[id(parent)]
        nearest[id(node)] = keeper
        place = shown[id(keeper)].children if keeper is not None else result
        if id(node) in kept:
            copy = Node(node.spans, [], node.findings, node.on_path, node.important, node.times)
            shown[id(node)] = copy
            direct = parent is None or id(parent) in kept
            gap = gaps.get(id(keeper), roots_gap) if keeper is not None else roots_gap
            gap.on_path = gap.on_path or (not direct and node.on_path)
            (place if direct else gap.children).append(copy)
        else:
            gap = gaps.setdefault(id(keeper), Node([])) if keeper is not None else roots_gap
            gap.hidden += len(node.spans) * node.times
            if gap.hidden == len(node.spans) * node.times:
                place.append(gap)
    return result


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the gravest of the findings."""
    return min(findings, key=lambda finding: SEVERITIES.index(finding.severity), default=None)


def _is_agent(span: Span) -> bool:
    return is_operation(span, OPERATION_INVOKE_AGENT) and span.kind != "client"


def _absorb(node: Node) -> None:
    """Take the next link of delegation → send → process → agent into this line where there is exactly one."""
    tail = node.spans[-1]
    if is_operation(tail, OPERATION_INVOKE_AGENT) and tail.kind == "client":
        following = [child for child in node.children if child.head.kind == "producer"]
    elif tail.kind == "producer":
        following = [child for child in node.children if child.head.kind == "consumer"]
    elif tail.kind == "consumer":
        following = [child for child in node.children if _is_agent(child.head)]
    else:
        return
    if len(following) != 1:
        return
    inner = following[0]
    others = [child for child in node.children if child is not inner]
    node.spans.extend(inner.spans)
    node.children = sorted(
        (*others, *inner.children), key=lambda child: child.head.start_unix_nano if child.spans else 0
    )
    node.findings = [*node.findings, *inner.findings]
    node.on_path = node.on_path or inner.on_path
    node.important = node.important or inner.important


def _fold(node: Node) -> None:
    """Fold runs of siblings that look alike, have nothing below and nothing wrong with them."""
    folded: list[Node] = []
    run: list[Node] = []
    for child in node.children:
        plain = not child.children and not child.important and not child.findings
        if run and not (plain and _looks(child) == _looks(run[0])):
            folded.extend(_as_one(run))
            run = []
        if plain:
            run.append(child)
        else:
            folded.append(child)
    folded.extend(_as_one(run))
    node.children = folded


def _as_one(run: list[Node]) -> list[Node]:
    if len(run) < _ALIKE_AT_LEAST:
        return run
    run[0].times = len(run)
    return run[:1]


def _looks(node: Node) -> tuple[object, ...]:
    head = node.head
    keys = (
        GEN_AI_AGENT_NAME,
        DELEGATION_REASON,
        MESSAGING_DESTINATION_NAME,
        DECISION_RISK,
        DECISION_INTENT,
        TOOL_DISPOSITION,
        TOOL_RESULT_STATUS,
    )
    own = (head.text(key) for key in keys)
    return (head.name, head.kind, head.status_code, len(node.spans), node.text(CELERY_TASK_NAME), *own)
