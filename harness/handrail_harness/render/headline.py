"""The first thing that is read: what went wrong, in one sentence, and the run's numbers."""

from __future__ import annotations

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from handrail_harness.effects import Effect
from handrail_harness.findings.base import TITLES
from handrail_harness.investigate import Investigation
from handrail_harness.render.style import Signs, count, duration, joined, moment, shown
from handrail_propagation.conventions import TOOL_TOUCHES

_DONE = {
    "write": "changed",
    "external": "sent to",
    "access_change": "changed access to",
    "destructive": "destroyed",
}
_RESOURCE = 100


def headline(investigation: Investigation, signs: Signs) -> Group:
    """Return the verdict, and below it when, how long, how much."""
    return Group(
        Padding(verdict(investigation, signs), (1, 1, 0, 1)), Padding(_numbers(investigation, signs), (0, 1))
    )


def verdict(investigation: Investigation, signs: Signs) -> Text:
    """Return one sentence about the run, with a sign that says the same without colour."""
    culprit = investigation.culprit
    effects = investigation.effects
    if culprit is not None:
        effect = next((one for one in effects if one.span is culprit.span), None)
        text = Text().append(f"{signs.wrong} ", style="bold red")
        text.append(
            _accusation(culprit.finding.name, effect, culprit.span.full_name, signs), style="bold red"
        )
        more = len(investigation.findings) - 1
        if more:
            text.append(f"  (and {count(more, 'more finding')})", style="dim")
        return text
    waiting = next((one for one in effects if one.disposition == "awaiting_approval"), None)
    if waiting is not None:
        text = Text().append(f"{signs.waiting} ", style="bold yellow")
        text.append(
            f"stopped: {_who(waiting, signs)} waits for approval of {_what(waiting, signs)}; it has not run"
        )
        return text
    done = sum(one.happened for one in effects)
    text = Text().append(f"{signs.good} ", style="bold green")
    text.append("nothing wrong found; ")
    return text.append(
        "nothing was changed" if not done else f"{count(done, 'effect')}, declared and approved as needed"
    )


def _accusation(name: str, effect: Effect | None, span_name: str, signs: Signs) -> str:
    if effect is None:
        return f"{TITLES[name]}: {shown(span_name, 80, signs)}"  # type: ignore[index]
    who = _who(effect, signs)
    resource = _resource(effect, signs)
    if name == "unapproved_effect":
        done = _DONE.get(effect.risk or "", "touched")
        if effect.result_status == "error":
            return f"{who} tried {_what(effect, signs)} without approval; the tool reported an error"
        return (
            f"{who} {done} {resource} without approval"
            if resource
            else f"{who} ran {_what(effect, signs)} without approval"
        )
    if name == "undeclared_effect":
        verb = effect.touch.verb if effect.touch is not None else f"ran {_what(effect, signs)}"
        where = (
            f" below the tool {shown(effect.tool_name, 60, signs)}"
            if effect.tool_name and effect.touch
            else ""
        )
        return f"{who} did {shown(verb, 30, signs)} {resource}{where}, which nothing declared"
    if name == "source_not_operator":
        return f"{who} ran {_what(effect, signs)} though the operator did not say so"
    return f"{who}, {_what(effect, signs)}: {TITLES[name]}"  # type: ignore[index]


def _who(effect: Effect, signs: Signs) -> str:
    return shown(effect.agent.name, 60, signs) if effect.agent is not None else "an unknown agent"


def _what(effect: Effect, signs: Signs) -> str:
    return shown(effect.tool_name or effect.span.name, 60, signs)


def _resource(effect: Effect, signs: Signs) -> str:
    if effect.touch is not None:
        return shown(effect.touch.resource, _RESOURCE, signs)
    touches = effect.span.attributes.get(TOOL_TOUCHES)
    named = [one for one in touches if isinstance(one, str)] if isinstance(touches, list) else []
    if not named:
        return ""
    more = f" and {len(named) - 1} more" if len(named) > 1 else ""
    return f"{shown(named[0], _RESOURCE, signs)}{more}"


def _numbers(investigation: Investigation, signs: Signs) -> Text:
    report = investigation.report
    spans = report.forest.spans
    start = min(span.start_unix_nano for span in spans)
    names = {
        place.agent.name for span in spans if (place := investigation.view.place(span)).agent is not None
    }
    handoffs = sum(span.kind == "producer" for span in report.forest.by_key.values())
    traces = len(report.trace_ids)
    tree = Text().append("one unified tree", style="green")
    if not report.unified:
        tree = Text().append(f"{signs.wrong} not one unified tree", style="bold red")
        if traces > 1:
            tree.append(f"; the run is in {traces} traces, all of them are read", style="red")
    first = joined(
        [
            Text(moment(start)),
            Text(duration(max(span.end_unix_nano for span in spans) - start)),
            Text(count(len(names), "agent")),
            Text(count(handoffs, "message")),
            Text(count(len(spans), "span")),
            tree,
        ],
        signs,
    )
    first.append("\n")
    ids = [Text(f"trace {report.trace_id}", style="dim")]
    if report.run_id:
        ids.append(Text(f"run {shown(report.run_id, 64, signs)}", style="dim"))
    return first.append_text(joined(ids, signs))
