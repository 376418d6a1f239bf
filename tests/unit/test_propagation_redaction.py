"""Secrets are masked wherever they hide, ordinary text and ids pass, and the limit holds for any input."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail_propagation.redaction import MASK, _own_secrets, redact, redact_value

SECRETS = [
    ("password=hunter2", "hunter2"),
    ("the db_password: 'correct horse'", "correct horse"),
    ('{"api_key": "abc123def"}', "abc123def"),
    ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "wJalr"),
    ("redis://user:s3cr3t@db-7:6379/0", "s3cr3t"),
    ("postgres://:onlypass@db/x", "onlypass"),
    ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
    ("curl --token abcd1234 https://x", "abcd1234"),
    ("key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7"),
    ("use sk-" + "ant-" + "api03-" + "Zx8Kq2" * 4 + " now", "api03"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", "eyJzdWIi"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEow cut off", "MIIEow"),
    ("a random one: q7Zp2Lx9Vt4Kw8Rb3Nf6Hs1Dy5", "q7Zp2Lx9"),
    ("pass\u200bword=hunter2", "hunter2"),
]

ORDINARY = [
    "Delete the staging volume vol-staging-0042 because nothing mounts it.",
    "The token was found in scripts/domains/setup_custom_domain.py",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "request 123e4567-e89b-12d3-a456-426614174000 failed",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "handrail_propagation.instrumentor.HandrailCeleryInstrumentor",
    "postgres://db-7/orders/customers_2026_backup_before_migration",
    "see https://docs.example.com/guides/getting-started-with-workers-and-queues",
    "2026-11-23T09:25:18.326747+00:00 to 2026-11-24",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets_are_masked(text: str, secret: str) -> None:
    """What a rule knows as a secret is gone, and its place says so."""
    redacted = redact(text, 512)
    assert secret not in redacted
    assert MASK in redacted


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_and_ids_pass(text: str) -> None:
    """Prose, paths, URLs, trace ids, UUIDs, digests and names are what a responder searches by: they stay."""
    assert redact(text, 512) == text


def test_own_secrets_are_masked_whatever_they_look_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of this process's environment is masked even where no rule would see one."""
    monkeypatch.setenv("HANDRAIL_TEST_PASSWORD", "tuesday morning")
    monkeypatch.setenv("HANDRAIL_TEST_URL", "redis://u:plainword@h/0")
    _own_secrets.cache_clear()
    try:
        assert redact("it was tuesday morning when plainword was used", 512) == (
            f"it was {MASK} when {MASK} was used"
        )
    finally:
        monkeypatch.undo()
        _own_secrets.cache_clear()


def test_control_characters_and_line_breaks_go() -> None:
    """Nothing that moves a cursor, hides text or forges a line of a report comes through."""
    assert redact("a\x1b[31mred\x07\r\nsecond\u202eline\ud800", 100) == "a[31mred secondline?"


@given(st.text(max_size=400), st.integers(min_value=0, max_value=200))
def test_limit_holds(text: str, limit: int) -> None:
    """The result is never longer than the limit and can always be encoded."""
    redacted = redact(text, limit)
    assert len(redacted) <= max(0, limit)
    redacted.encode("utf-8")


def test_a_cut_text_says_so_and_a_secret_at_the_cut_is_not_half_shown() -> None:
    """A long text ends in an ellipsis; a secret that the cut goes through does not leak its first half."""
    redacted = redact("word " * 900 + "password=" + "x" * 9000, 4700)
    assert redacted.endswith("…")
    assert "xxx" not in redacted


def test_ten_megabytes_cost_no_more_than_a_page() -> None:
    """Time depends on the limit, not on the text: a hostile 10 MB reasoning is as cheap as a long one."""
    started = time.process_time()
    redact("a=" * 5_000_000, 512)
    redact("-----BEGIN " * 1_000_000, 512)
    redact("pass" * 2_500_000, 512)
    assert time.process_time() - started < 1.0


def test_a_value_keeps_its_shape() -> None:
    """Numbers, truth values and nesting stay; secrets go, by how they look and by the name they stand under."""
    token = "ghp_" + "a1B2" * 6
    value = {
        "n": 1,
        "ok": True,
        "none": None,
        "list": ["plain", f"use {token}"],
        "API_KEY": 7,
        "max_tokens": 9,
    }
    assert redact_value(value, 1_000) == {
        "n": 1,
        "ok": True,
        "none": None,
        "list": ["plain", f"use {MASK}"],
        "API_KEY": MASK,
        "max_tokens": 9,
    }
    assert redact_value({token: 1}, 1_000) == {MASK: 1}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
        lambda inner: (
            st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20)
        ),
        max_leaves=60,
    ),
    st.integers(0, 300),
)
def test_a_value_is_bounded(value: object, limit: int) -> None:
    """Whatever comes in, the strings that come out are no longer than the limit allows, and can be encoded."""
    out = redact_value(value, limit)
    text = json.dumps(out, ensure_ascii=False)
    text.encode("utf-8")

    def size(one: object) -> int:
        if isinstance(one, dict):
            return sum(len(key) + size(item) for key, item in one.items())
        if isinstance(one, list):
            return sum(size(item) for item in one)
        return len(one) if isinstance(one, str) else 0

    # A key, a mask and the mark of a cut may stand where the room ended.
    assert size(out) <= limit + 200


def test_depth_is_bounded() -> None:
    """A value nested to death is cut, not followed."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    text = json.dumps(redact_value(value, 10_000))
    assert text.count("[") == 32
    assert redact_value(object(), 10) == "…"
