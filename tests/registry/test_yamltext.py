from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry.yamltext import DEEPEST, parse


def tree(text: str) -> object:
    document = parse(text, "f.yaml")
    assert document.mistakes == ()
    return document.tree


@pytest.mark.parametrize(
    "scalar", ["0123", "no", "1_000", "0x10", "1:30", "1e3", "true", ".inf", "2026-03-02", "2026-05-01T08:00:00+07:00"]
)
def test_a_scalar_is_the_text_that_was_written(scalar: str) -> None:
    assert tree(f"id: {scalar}\n") == {"id": scalar}
    assert tree(f"{{id: {scalar}, list: [{scalar}]}}") == {"id": scalar, "list": [scalar]}


@pytest.mark.parametrize("scalar", ["", "~", "null", "NULL"])
def test_null_is_absent_and_a_quoted_null_is_text(scalar: str) -> None:
    assert tree(f"id: {scalar}\n") == {"id": None}
    assert tree(f'id: "{scalar}"\n') == {"id": scalar}


def test_a_duplicate_key_is_named_with_both_lines() -> None:
    document = parse("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "f.yaml")
    assert [str(m) for m in document.mistakes] == ["f.yaml:5: b.c: is given twice, first in line 3"]


def test_every_key_and_item_knows_its_line() -> None:
    document = parse("a:\n  - x: 1\n  - {x: 2,\n     y: 3}\n", "f.yaml")
    assert document.line(("a", 0, "x")) == 2
    assert document.line(("a", 1, "y")) == 4
    assert document.line(("a", 1, "missing")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!python/object:os.system {}\n", "the tag"),
        ("a: !secret x\n", "the tag !secret"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "deeper"),
        ("a: *b\n", "names nothing above it"),
        ("a: &a [*a]\n", "names nothing above it"),
        ("a: [1\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
        ("{[a]: 1}", "a key must be a plain text"),
    ],
)
def test_a_form_that_is_not_read_is_refused(text: str, words: str) -> None:
    document = parse(text, "f.yaml")
    assert len(document.mistakes) == 1
    assert words in str(document.mistakes[0])


def test_aliases_are_read_but_do_not_unfold_without_end() -> None:
    assert tree("a: &p {x: 1}\nb: *p\n") == {"a": {"x": "1"}, "b": {"x": "1"}}
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    document = parse(bomb, "f.yaml")
    assert "aliases unfolded" in str(document.mistakes[0])


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    parse(text, "f.yaml")


@given(st.text(alphabet="{}[]:,-&*!|>'\"%@`?#~ \n\tab1", max_size=120))
def test_no_punctuation_raises(text: str) -> None:
    parse(text, "f.yaml")
