"""The report for machines and for a browser: JUnit's XML, as CI servers read it, and one HTML file."""

from __future__ import annotations

from html import escape
from typing import Final
from xml.etree import ElementTree

from handrail_harness.conformance.outcome import GROUPS, Conformance, Outcome
from handrail_harness.printable import printable

_SEEN_MAX: Final = 400


def junit(conformance: Conformance) -> str:
    """Return the report as JUnit XML: a test suite for each group, a test case for each requirement."""
    root = ElementTree.Element("testsuites", name=f"handrail conformance {printable(conformance.app, 200)}")
    for group, outcomes in conformance.groups():
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=group,
            tests=str(len(outcomes)),
            failures=str(sum(one.state == "failed" for one in outcomes)),
            skipped=str(sum(one.state == "skipped" for one in outcomes)),
            errors="0",
        )
        for one in outcomes:
            case = ElementTree.SubElement(suite, "testcase", classname=f"conformance.{group}", name=one.name)
            if one.state == "failed":
                failure = ElementTree.SubElement(case, "failure", message=one.expected, type="nonconformance")
                failure.text = "\n".join(_seen(one))
            elif one.state == "skipped":
                ElementTree.SubElement(case, "skipped", message=one.skipped)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def html(conformance: Conformance) -> str:
    """Return the report as one HTML page without scripts and without anything from elsewhere."""
    verdict = "passes" if conformance.passed else "does not pass"
    title = f"{escape(printable(conformance.app, 200))} {verdict}"
    parts = [
        _HEAD.format(title=title),
        f"<h1>{title}</h1>\n<p>{conformance.count('passed')} passed, {conformance.count('failed')} failed, "
        f"{conformance.count('skipped')} not judged; {conformance.seconds:.1f} s</p>\n",
    ]
    for group, outcomes in conformance.groups():
        parts.append(f"<h2>{escape(GROUPS[group])}</h2>\n<table>\n<tr><th>{_HEADINGS}</th></tr>\n")
        parts += [_row(one) for one in outcomes]
        parts.append("</table>\n")
    return "".join(parts) + "</body></html>\n"


def _row(one: Outcome) -> str:
    seen = "<br>".join(escape(line) for line in _seen(one)) or escape(one.skipped) or "as expected"
    cells = (f"<code>{one.name}</code>", one.state, escape(one.expected), seen, escape(one.source))
    return f'<tr class="{one.state}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _seen(one: Outcome) -> list[str]:
    return [printable(line, _SEEN_MAX) for line in one.seen]


_HEADINGS: Final = "</th><th>".join(("requirement", "state", "expected", "seen", "source"))
_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }}
table {{ border-collapse: collapse }}
td, th {{ border-bottom: 1px solid #ddd; padding: .3em .8em; text-align: left; vertical-align: top }}
.failed td:nth-child(2) {{ color: #b00020; font-weight: bold }}
.passed td:nth-child(2) {{ color: #1b6e2e }}
.skipped td {{ color: #666 }}
</style></head><body>
"""
