"""The 41 cases of W3C Trace Context, Level 2: one table of headers in and what has to come out.

Which cases there are follows the official suite (w3c/trace-context, folder test) and, for the flag that Level 2
adds, the recommendation; they are stated here from the text of https://www.w3.org/TR/trace-context-2/. The
official suite speaks HTTP in one method; ours speak through a queue (see `exchange`).
"""

from __future__ import annotations

from typing import Final, Literal

from handrail_harness.conformance.case import Case, Headers, Probe

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
_GOOD: Final = f"00-{TRACE}-{SPAN}-01"
_State = tuple[tuple[str, str], ...]


def _parent(value: str, trace: Literal["continued", "new"], *, name: str = "traceparent") -> Probe:
    return Probe(((name, value),), trace, TRACE)


def _refused(*values: str) -> tuple[Probe, ...]:
    return tuple(_parent(value, "new") for value in values)


def _state(*values: str, out: _State = (), name: str = "tracestate") -> Probe:
    headers: Headers = (("traceparent", _GOOD), *((name, value) for value in values))
    return Probe(headers, "continued", TRACE, state=out)


def _dropped(*values: str) -> tuple[Probe, ...]:
    return tuple(_state(value) for value in values)


_KEY: Final = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
_VALUE: Final = "".join(map(chr, [*range(0x20, 0x2C), *range(0x2D, 0x3D), *range(0x3E, 0x7F)]))
_A, _AB, _ABC = (("a", "1"),), (("a", "1"), ("b", "2")), (("a", "1"), ("b", "2"), ("c", "3"))
_MANY: Final = tuple((f"key{number}", str(number)) for number in range(1, 34))


def _members(*entries: tuple[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in entries)


_TRACEPARENT_CASES: Final = (
    Case("nothing", "3.2", "Without headers a trace begins.", (Probe((), "new", state=()),)),
    Case(
        "traceparent_alone",
        "3.2",
        "A traceparent is continued under a parent-id of our own.",
        (_parent(_GOOD, "continued"),),
    ),
    Case(
        "traceparent_twice",
        "3.2",
        "Two traceparents are none.",
        (
            Probe(
                (("traceparent", _GOOD), ("traceparent", f"00-{TRACE[:-1]}d-{SPAN}-01")),
                "new",
            ),
        ),
    ),
    Case(
        "traceparent_other_name",
        "3.2.1",
        "A header of a similar name is not it.",
        (_parent(_GOOD, "new", name="trace-parent"), _parent(_GOOD, "new", name="trace.parent")),
    ),
    Case(
        "traceparent_casing",
        "3.2.1",
        "The name counts in any casing.",
        tuple(
            _parent(_GOOD, "continued", name=name) for name in ("Traceparent", "tRaCePaReNt", "TRACEPARENT")
        ),
    ),
    Case(
        "version_00",
        "3.2.4",
        "Version 00 ends after the flags.",
        _refused(f"{_GOOD}.", f"{_GOOD}-and-more"),
    ),
    Case(
        "version_later",
        "3.2.4",
        "Of a later version the first four fields count, if a dash or nothing follows.",
        (
            _parent(f"cc-{TRACE}-{SPAN}-01", "continued"),
            _parent(f"cc-{TRACE}-{SPAN}-01-and-more", "continued"),
            _parent(f"cc-{TRACE}-{SPAN}-01.and-more", "new"),
        ),
    ),
    Case("version_ff", "3.2.2.1", "Version ff is forbidden.", _refused(f"ff-{TRACE}-{SPAN}-01")),
    Case(
        "version_characters",
        "3.2.2.1",
        "A version is of lower-case hex digits.",
        _refused(f".0-{TRACE}-{SPAN}-01", f"0.-{TRACE}-{SPAN}-01"),
    ),
    Case(
        "version_long",
        "3.2.2.1",
        "A version has two digits, not more.",
        _refused(f"000-{TRACE}-{SPAN}-01", f"0000-{TRACE}-{SPAN}-01"),
    ),
    Case("version_short", "3.2.2.1", "A version has two digits, not one.", _refused(f"0-{TRACE}-{SPAN}-01")),
    Case("trace_id_zero", "3.2.2.3", "A trace-id of zeros is none.", _refused(f"00-{'0' * 32}-{SPAN}-01")),
    Case(
        "trace_id_characters",
        "3.2.2.3",
        "A trace-id is of lower-case hex digits.",
        _refused(f"00-.{TRACE[1:]}-{SPAN}-01", f"00-{TRACE[:-1]}.-{SPAN}-01"),
    ),
    Case("trace_id_long", "3.2.2.3", "Of 33 digits none are used.", _refused(f"00-{TRACE}3-{SPAN}-01")),
    Case("trace_id_short", "3.2.2.3", "A trace-id of 31 is none.", _refused(f"00-{TRACE[:-1]}-{SPAN}-01")),
    Case("parent_id_zero", "3.2.2.4", "A parent-id of zeros is none.", _refused(f"00-{TRACE}-{'0' * 16}-01")),
    Case(
        "parent_id_characters",
        "3.2.2.4",
        "A parent-id is of lower-case hex digits.",
        _refused(f"00-{TRACE}-.{SPAN[1:]}-01", f"00-{TRACE}-{SPAN[:-1]}.-01"),
    ),
    Case("parent_id_long", "3.2.2.4", "A parent-id of 17 is none.", _refused(f"00-{TRACE}-{SPAN}1-01")),
    Case("parent_id_short", "3.2.2.4", "A parent-id of 15 is none.", _refused(f"00-{TRACE}-{SPAN[:-1]}-01")),
    Case(
        "flags_characters",
        "3.2.2.5",
        "Flags are of lower-case hex digits.",
        _refused(f"00-{TRACE}-{SPAN}-.0", f"00-{TRACE}-{SPAN}-0."),
    ),
    Case("flags_long", "3.2.2.5", "Flags have two digits, not three.", _refused(f"00-{TRACE}-{SPAN}-001")),
    Case("flags_short", "3.2.2.5", "Flags have two digits, not one.", _refused(f"00-{TRACE}-{SPAN}-1")),
    Case(
        "flag_random",
        "3.2.2.5.2",
        "Whether the trace-id is random is passed on, sampled or not.",
        tuple(
            Probe((("traceparent", f"00-{TRACE}-{SPAN}-{flags:02x}"),), "continued", TRACE, random=flags > 1)
            for flags in (0, 1, 2, 3)
        ),
    ),
    Case(
        "traceparent_white_space",
        "3.2.1",
        "Spaces and tabs around the value do not count.",
        tuple(
            _parent(value, "continued")
            for value in (f" {_GOOD}", f"\t{_GOOD}", f"{_GOOD} ", f"{_GOOD}\t", f"\t {_GOOD} \t")
        ),
    ),
)

_TRACESTATE_CASES: Final = (
    Case(
        "tracestate_alone",
        "3.3.1",
        "A tracestate without a traceparent is discarded.",
        (
            Probe((("tracestate", "a=1"),), "new", state=()),
            Probe((("tracestate", "a=1,b=2"),), "new", state=()),
        ),
    ),
    Case("tracestate_with_traceparent", "3.3.1", "Both are inherited.", (_state("a=1,b=2", out=_AB),)),
    Case(
        "tracestate_other_name",
        "3.3.1",
        "A header of a similar name is not it.",
        (_state("a=1", name="trace-state"), _state("a=1", name="trace.state")),
    ),
    Case(
        "tracestate_casing",
        "3.3.1",
        "The name counts in any casing.",
        tuple(_state("a=1", name=name, out=_A) for name in ("Tracestate", "tRaCeStAtE", "TRACESTATE")),
    ),
    Case(
        "tracestate_empty",
        "3.3.1.1",
        "An empty header says nothing and takes nothing away.",
        (_state(""), _state("a=1", "", out=_A), _state("", "a=1", out=_A)),
    ),
    Case(
        "tracestate_repeated",
        "3.3.1.4",
        "Several headers are one list, in their order.",
        (_state("a=1,b=2", "c=3,d=4", "e=5", out=(*_ABC, ("d", "4"), ("e", "5"))),),
    ),
    Case(
        "tracestate_key_twice",
        "3.3.1.3.1",
        "A key that occurs twice makes the list invalid.",
        (_state("a=1,a=1"), _state("a=1,a=2"), _state("a=1", "a=1"), _state("a=1", "a=2")),
    ),
    Case(
        "tracestate_characters",
        "3.3.1.3",
        "Every character that the grammar allows passes.",
        tuple(_state(f"{key}={_VALUE}", out=((key, _VALUE),)) for key in (_KEY, f"{_KEY}@a-z0-9_-*/")),
    ),
    Case(
        "tracestate_white_space",
        "3.3.1.2",
        "Spaces and tabs around members do not count.",
        (
            _state("a=1 \t , \t b=2, \t c=3", out=_ABC),
            _state("a=1\t \t,\t \tb=2,\t \tc=3", out=_ABC),
            *(_state(value, out=_A) for value in (" a=1", "\ta=1", "a=1 ", "a=1\t", "\t a=1 \t")),
        ),
    ),
    Case(
        "tracestate_key_characters",
        "3.3.1.3.1",
        "Another character in a key makes the list invalid.",
        _dropped("a =1", "A=1", "a.b=1"),
    ),
    Case(
        "tracestate_key_tenants",
        "3.3.1.3.1",
        "A key with a tenant has one @, something before it and something after it.",
        _dropped("a@=1,b=2", "@a=1,b=2", "a@@b=1,b=2", "a@b@c=1,b=2"),
    ),
    Case(
        "tracestate_32_members",
        "3.3.1.1",
        "32 members are a list, 33 are not.",
        tuple(
            _state(*(_members(*_MANY[at : min(at + 10, last)]) for at in (0, 10, 20, 30)), out=out)
            for last, out in ((32, _MANY[:32]), (33, ()))
        ),
    ),
    Case(
        "tracestate_key_length",
        "3.3.1.3.1",
        "A key has up to 256 characters; with a tenant up to 241, and 14 after the @.",
        (
            *(
                _state("a=1", f"{key}=1", out=(*_A, (key, "1")))
                for key in ("z" * 256, f"{'t' * 241}@{'v' * 14}")
            ),
            *(_state("a=1", f"{key}=1") for key in ("z" * 257, f"{'t' * 242}@v", f"t@{'v' * 15}")),
        ),
    ),
    Case(
        "tracestate_value_characters",
        "3.3.1.3.2",
        "A value has no equals sign and is not empty.",
        _dropped("a=b=c", "a=,b=3"),
    ),
)

_SEVERAL_CASES: Final = (
    Case(
        "several_continued",
        "3.4",
        "Messages of one task continue the same trace, each under a parent-id of its own.",
        (Probe((("traceparent", _GOOD),), "continued", TRACE, sends=3),),
    ),
    Case(
        "several_begun",
        "3.4",
        "Without a trace to continue, parent-ids differ as well.",
        (Probe((), "new", sends=3),),
    ),
    Case(
        "several_refused",
        "3.4",
        "Neither continues a traceparent that is none.",
        (Probe((("traceparent", f"00-{'0' * 32}-{SPAN}-01"),), "new", sends=3),),
    ),
)

CASES: Final[tuple[Case, ...]] = (*_TRACEPARENT_CASES, *_TRACESTATE_CASES, *_SEVERAL_CASES)
