"""The Lua scripts keep the rules of the house: headers say what bodies do. What their syntax must obey is in test_script_lint.py."""

from __future__ import annotations

import re

import pytest

from storage.scripts import LUA, NAMES, all_scripts, digest, source
from tests.support.lua_source import (
    KEYS,
    READS,
    WRITES,
    Source,
    arguments_of,
    calls,
    documented_keys,
    keys_of,
    parts,
    reached,
    scripts,
    shared_functions,
    words_of,
)

COMPLETES_UNDER_MEMORY_PRESSURE = {
    "commit",
    "heartbeat",
    "release",
    "cancel",
    "fire_timers",
    "pass_on",
    "sweep",
    "begin_effect",
    "confirm_effect",
    "audit",
    "restore",
    "repair",
    "heads",
    "note_waits",
    "rights",
}
NOT_IN_FACT = {"create_run": {"run:<id>:edges"}}
"""Keys that a script's functions can touch and that it does not: the first tasks of a run have no predecessors to count."""

each_script = pytest.mark.parametrize("script", scripts(), ids=lambda script: script.name)
each_part = pytest.mark.parametrize("part", parts(), ids=lambda part: part.name)


def test_every_script_has_a_name_in_the_loader_and_every_name_a_script() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in LUA.glob("*.lua"))
    assert [name for name, _ in all_scripts()] == list(NAMES)


@each_script
def test_a_script_begins_with_its_flags_and_one_sentence(script: Source) -> None:
    shebang, sentence = script.path.read_text().splitlines()[:2]
    assert shebang == ("#!lua flags=allow-oom" if script.name in COMPLETES_UNDER_MEMORY_PRESSURE else "#!lua")
    assert re.match(rf"-- {script.name}: .+", sentence)


@each_script
def test_the_server_gets_the_flags_first_and_no_comments(script: Source) -> None:
    text = source(script.name)
    assert text.startswith("#!lua")
    assert not [line for line in text.splitlines() if line.lstrip().startswith("--")]
    assert text.count("local T = KEYS[1]") == 1
    assert re.fullmatch("[0-9a-f]{40}", digest(script.name))


@each_script
def test_the_arguments_of_the_body_are_those_of_the_header(script: Source) -> None:
    documented, open_ended = arguments_of(script)
    used = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", script.code)}
    if open_ended:
        assert max(used, default=0) <= documented
        assert "ARGV[i]" in script.code or "ARGV[at" in script.code
    else:
        assert used == set(range(1, documented + 1))


@each_script
def test_every_key_that_a_script_builds_is_in_its_header(script: Source) -> None:
    touched, possible = keys_of(script)
    documented = documented_keys(script)
    assert touched - NOT_IN_FACT.get(script.name, set()) <= documented
    assert documented <= possible


def test_every_key_in_the_table_is_built_by_some_script() -> None:
    assert set().union(*(keys_of(script)[1] for script in scripts())) == KEYS


@each_script
def test_a_script_answers_only_with_words_of_its_header(script: Source) -> None:
    told, documented = words_of(script)
    assert told <= documented
    assert "OK" in documented


@each_script
def test_a_script_loads_the_parts_that_it_needs_each_after_those_it_needs(script: Source) -> None:
    assert script.uses[0] == "prelude"
    order = {part: number for number, part in enumerate(script.uses)}
    for name in reached(script.code):
        part, body = shared_functions()[name]
        assert part in order, f"{name} is in {part}"
        assert all(order[shared_functions()[needed][0]] <= order[part] for needed in reached(body)), name


@each_script
def test_a_script_reads_before_it_writes(script: Source) -> None:
    commands = calls(script.main)
    assert set(commands) <= READS | WRITES
    if commands:
        assert commands[0] in READS or script.name == "release"
    for function in script.functions.values():
        assert not set(calls(function)) & WRITES, "functions of a script decide; what they decide is written at the end"


def test_what_every_script_loads_stays_small() -> None:
    assert len((LUA / "lib" / "prelude.lua").read_text().splitlines()) <= 25


@each_part
def test_a_part_says_what_it_is_for_and_calls_the_server_only_in_functions(part: Source) -> None:
    assert part.header.startswith(f"{part.name}: ")
    assert calls(part.main) == (["TIME"] if part.name == "prelude" else [])
