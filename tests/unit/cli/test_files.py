"""Definitions in files: YAML is JSON written otherwise, and every problem finds its line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from engine.errors import Problem
from engine.limits import Limits
from peerflow.cli.files import Document, FileRefused, FileUnreadable, read_document
from peerflow.cli.json_lines import line_of
from peerflow.cli.yaml_reader import YamlRefused, read_yaml

TEXT = """{
  "name": "x",
  "tasks": {
    "a/b": {"task": "task_a"},
    "c": {
      "task": "nope",
      "depends_on": ["a/b",
                     "zz"]
    },
    "c": {"task": "again"}
  }
}
"""


def line_at(document: Document, pointer: str, code: str = "invalid-value") -> int | None:
    return document.line(Problem(code, pointer, "", ""))


@pytest.mark.parametrize(
    ("pointer", "line"),
    [
        ("", 1),
        ("/name", 2),
        ("/tasks", 3),
        ("/tasks/a~1b", 4),
        ("/tasks/a~1b/task", 4),
        ("/tasks/c", 5),
        ("/tasks/c/depends_on/1", 8),
        ("/tasks/zz", None),
        ("/tasks/c/depends_on/2", None),
    ],
)
def test_pointer_has_its_line_in_json(pointer: str, line: int | None) -> None:
    assert line_of(TEXT, pointer) == line


def test_second_of_two_equal_keys_has_its_own_line() -> None:
    assert line_of(TEXT, "/tasks/c", last=True) == 10


# Everything that means something to one of the two syntaxes; control characters YAML does not take at all.
texts = st.text(st.sampled_from("aZ0 ~/\"'\\{}[]():,;#&*!|>%@`?-+.=<_\n\täß€😀"), max_size=8) | st.sampled_from(
    ["null", "true", "on", "1", "<<", "---"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def pointers(value: JsonValue, pointer: str = "") -> list[str]:
    found = [pointer]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in members:
        found += pointers(item, f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}")
    return found


@given(json_values)
def test_every_pointer_of_every_document_has_a_line(value: JsonValue) -> None:
    text = json.dumps(value, indent=1)
    lines = [line_of(text, pointer) for pointer in pointers(value)]
    assert None not in lines
    assert lines == sorted(lines, key=lambda line: line or 0)


@given(json_values.filter(lambda value: value is not None))
def test_yaml_reads_json_as_json(value: JsonValue) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert read_yaml(text, Limits()).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: [a]", {"on": ["a"]}),
        ("a: no", {"a": "no"}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 0x1F", {"a": "0x1F"}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: .5", {"a": 0.5}),
        ("a: ~\nb:\nc: 'null'", {"a": None, "b": None, "c": "null"}),
        ("a: true\nb: 'true'", {"a": True, "b": "true"}),
        ("12: x", {"12": "x"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: &x {k: 1}\nb: *x", {"a": {"k": 1}, "b": {"k": 1}}),
        ("- 1\n- [2, {a: b}]", [1, [2, {"a": "b"}]]),
    ],
)
def test_yaml_words_mean_what_json_can_say(text: str, value: JsonValue) -> None:
    assert read_yaml(text, Limits()).value == value


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "the key 'a' stands here for the second time, first in line 1"),
        ("a: !!python/object/apply:os.system ['true']", 1, "the tag tag:yaml.org,2002:python/object/apply:os.system is not read"),
        ("a: !secret x", 1, "the tag !secret is not read"),
        ("base: &b {x: 1}\nc:\n  <<: *b", 3, "merge keys"),
        ("a: *nothing", 1, "nothing refers to no anchor"),
        ("a: &a [*a]", 1, "an anchor cannot hold itself"),
        ("? [1, 2]\n: x", 1, "used as a key"),
        ("a: .nan", 1, ".nan is not a JSON number"),
        ("a: 1e999", 1, "too large"),
        ("a: [1, 2\nb: 3", 2, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("a: \x07", 1, "not YAML"),
        ("\n".join("  " * level + f"k{level}:" for level in range(80)) + " 1", 65, "more than 64 levels"),
    ],
)
def test_yaml_that_json_cannot_say_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(YamlRefused) as caught:
        read_yaml(text, Limits())
    assert message in caught.value.problems[0].message
    assert caught.value.line == line


def test_aliases_of_aliases_do_not_grow_without_bound() -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
    with pytest.raises(YamlRefused, match="stand for more than"):
        read_yaml(laughs, Limits())


def test_yaml_a_million_levels_deep_is_refused() -> None:
    with pytest.raises(YamlRefused, match="more than 64 levels"):
        read_yaml("[" * 1_000_000, Limits())


def test_json_file_goes_out_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(TEXT)
    document = read_document(str(file))
    assert document.body == TEXT.encode()
    assert line_at(document, "/tasks/c/depends_on/1") == 8
    assert line_at(document, "/tasks/c", "duplicate-key") == 10


def test_place_that_is_missing_has_the_line_of_what_is_around_it(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(TEXT)
    assert line_at(read_document(str(file)), "/tasks/c/retry/max") == 5
    yaml = tmp_path / "x.yaml"
    yaml.write_text("name: x\ntasks:\n  a:\n    depends_on: [b]\n")
    document = read_document(str(yaml))
    assert line_at(document, "/tasks/a/task") == 3
    assert line_at(document, "/tasks/a/depends_on/0") == 4
    assert json.loads(document.body) == {"name": "x", "tasks": {"a": {"depends_on": ["b"]}}}


def test_broken_json_has_the_line_of_the_break(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{\n "a": 1,\n oops\n}')
    assert line_at(read_document(str(file)), "", "invalid-json") == 3


@pytest.mark.parametrize(("text", "body"), [(b' {"a": 1}', b' {"a": 1}'), (b"a: 1", b'{"a":1}')])
def test_standard_input_is_json_where_it_begins_like_json(monkeypatch: pytest.MonkeyPatch, text: bytes, body: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    document = read_document("-")
    assert (document.name, document.body) == ("standard input", body)


def test_unreadable_files_are_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match=r"none\.json: no such file"):
        read_document(str(tmp_path / "none.json"))
    with pytest.raises(FileUnreadable, match="is a directory"):
        read_document(str(tmp_path))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9")
    with pytest.raises(FileUnreadable, match="not UTF-8"):
        read_document(str(latin))


def test_refused_yaml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    file.write_text("a: 1\na: 2")
    with pytest.raises(FileRefused) as caught:
        read_document(str(file))
    assert caught.value.name == str(file)
    assert [(problem.code, problem.pointer, line) for problem, line in caught.value.places] == [("duplicate-key", "/a", 2)]
