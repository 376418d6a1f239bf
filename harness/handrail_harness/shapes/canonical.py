"""The shape of a run as text that a person reviews and Git keeps: no ids, no times, one order.

And the comparison of two such texts, which names the subtree that moved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from handrail_harness.printable import printable
from handrail_harness.shapes.steps import Step, Steps

_TIMES = re.compile(r"^(?P<label>.*?)(?: x(?P<times>\d+))?$")
_INDENT = "  "


@dataclass(slots=True)
class Branch:
    """A line of a shape text and what is indented below it."""

    label: str
    times: int = 1
    children: list[Branch] = field(default_factory=list)

    def text(self, depth: int = 0) -> str:
        """Return the branch as lines, indented by two spaces a level."""
        lines: list[str] = []
        stack: list[tuple[Branch, int]] = [(self, depth)]
        while stack:
            branch, at = stack.pop()
            times = f" x{branch.times}" if branch.times > 1 else ""
            lines.append(f"{_INDENT * at}{branch.label}{times}")
            stack.extend((child, at + 1) for child in reversed(branch.children))
        return "\n".join(lines)


def shape_text(steps: Steps, *, in_order: bool = False) -> str:
    """Return the canonical text of a run, with a line break at its end.

    Siblings are sorted by their text, since what runs side by side ends in any order; with `in_order` they
    stay in the order in which they began. Equal siblings are one line with their number. Model calls are
    left out.
    """
    branches = _branches(steps, in_order)
    return "".join(branch.text() + "\n" for branch in branches)


def parse(text: str) -> list[Branch]:
    """Return the branches of a shape text; blank lines and lines that begin with # are left out."""
    tops: list[Branch] = []
    open_: list[Branch] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = (len(line) - len(line.lstrip(" "))) // len(_INDENT)
        found = _TIMES.match(line.strip())
        times = int(found["times"]) if found and found["times"] else 1
        branch = Branch(found["label"] if found else line.strip(), times)
        del open_[depth:]
        (open_[-1].children if open_ else tops).append(branch)
        open_.append(branch)
    return tops


def changes(golden: str, actual: str) -> list[str]:
    """Return what differs, one phrase each: subtrees that moved, that are gone, that are new."""
    before, after = Counter(_places(parse(golden))), Counter(_places(parse(actual)))
    gone, new = before - after, after - before
    told: list[str] = []
    covered: list[tuple[tuple[str, ...], str]] = []
    for place, text in sorted(gone, key=lambda one: -one[1].count("\n")):
        if _inside((place, text), covered):
            continue
        to = next((one for one in new if one[1] == text and one[0] != place and new[one] > 0), None)
        if to is not None:
            moved = min(gone[place, text], new[to])
            gone[place, text] -= moved
            new[to] -= moved
            told.append(f"moved: {_first(text)}, from {_where(place)} to {_where(to[0])}")
            covered += [(place, text), to]
    told += _untold("gone", gone, new, covered)
    told += _untold("new", new, gone, covered)
    return told


def _untold(
    word: str,
    those: Counter[tuple[tuple[str, ...], str]],
    others: Counter[tuple[tuple[str, ...], str]],
    covered: list[tuple[tuple[str, ...], str]],
) -> list[str]:
    """Tell the outermost of what is left; a step that only changed inside is told by its inside."""
    told: list[str] = []
    done = list(covered)
    changed_inside = {(place, _label(text)) for place, text in others if others[place, text] > 0}
    for place, text in sorted(those, key=lambda one: (len(one[0]), one[1])):
        number = those[place, text]
        if number <= 0 or _inside((place, text), done):
            continue
        if (place, _label(text)) in changed_inside:
            continue
        done.append((place, text))
        times = f" x{number}" if number > 1 else ""
        told.append(f"{word}: {_first(text)}{times}, in {_where(place)}")
    return told


def _places(tops: Iterable[Branch]) -> list[tuple[tuple[str, ...], str]]:
    """Return (labels of what is around it, text) of every branch, repeated ones as often as they occur."""
    found: list[tuple[tuple[str, ...], str]] = []
    stack: list[tuple[Branch, tuple[str, ...]]] = [(top, ()) for top in tops]
    while stack:
        branch, place = stack.pop()
        text = Branch(branch.label, 1, branch.children).text()
        found += [(place, text)] * branch.times
        for _ in range(branch.times):
            stack.extend((child, (*place, branch.label)) for child in branch.children)
    return found


def _inside(one: tuple[tuple[str, ...], str], those: Sequence[tuple[tuple[str, ...], str]]) -> bool:
    place, _ = one
    return any(
        len(place) > len(outer) and place[: len(outer) + 1] == (*outer, _label(text)) for outer, text in those
    )


def _label(text: str) -> str:
    return text.partition("\n")[0]


def _first(text: str) -> str:
    below = text.count("\n")
    return _label(text) + (f" and {below} below it" if below else "")


def _where(place: tuple[str, ...]) -> str:
    return " / ".join(place) or "the top"


def _branches(steps: Steps, in_order: bool) -> list[Branch]:
    """Build without recursion: a chain of delegations may be long."""
    order: list[Step] = []
    stack = list(steps.tops)
    while stack:
        step = stack.pop()
        order.append(step)
        stack.extend(step.children)
    made: dict[int, Branch] = {}
    for step in reversed(order):  # what is inside comes before what is around it
        inside = [made[id(child)] for child in step.children if child.kind != "chat"]
        made[id(step)] = Branch(_describe(step), 1, _folded(inside, in_order))
    return _folded([made[id(top)] for top in steps.tops if top.kind != "chat"], in_order)


def _folded(branches: list[Branch], in_order: bool) -> list[Branch]:
    texts = {id(branch): branch.text() for branch in branches}
    if not in_order:
        branches = sorted(branches, key=lambda branch: texts[id(branch)])
    folded: list[Branch] = []
    for branch in branches:
        if folded and texts[id(folded[-1])] == texts[id(branch)]:
            folded[-1].times += 1
        else:
            folded.append(branch)
    return folded


def _describe(step: Step) -> str:
    facts: list[str] = []
    if step.kind == "tool":
        facts += [step.risk, step.disposition, "failed" if step.result == "error" else ""]
    elif step.error:
        facts.append(f"error {step.error}")
    if step.handed_off and step.deliveries != 1:
        facts.append("never received" if not step.deliveries else f"delivered {step.deliveries} times")
    shown = ", ".join(printable(fact, 60) for fact in facts if fact)
    return printable(step.label(), 120) + (f"  ({shown})" if shown else "")
