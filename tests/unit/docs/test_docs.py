"""The documentation holds: definitions compile, settings, calls and commands are all there and no others, links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
from pydantic import BaseModel, JsonValue
from starlette.routing import Route

from engine import strict_json
from engine.compile import compile_document
from engine.errors import DefinitionError
from peerflow import logging
from peerflow.api.models import ProblemDocument
from peerflow.api.problem import TITLES
from peerflow.cli.app import app
from peerflow.main import load_registry
from peerflow.settings import Settings
from peerflow.settings_source import NOT_FOR_PODS, variable
from peerflow.settings_text import shown
from tests.support.markdown import PAGES, ROOT, anchors, blocks, links, rows, sections, text_of
from tests.unit.api.conftest import make_pod

BUILT_IN = {"task_a", "task_b", "task_c", "echo", "sleep"}
FOR_THE_MACHINE = {"PEERFLOW_DATA_DIR": "~/.local/share/peerflow", "PEERFLOW_PROCESSES": "CPUs", "PEERFLOW_TASKS": "none"}
"""Defaults that the documentation gives in words."""
API, CLI, DEFINITION, OPERATIONS = "docs/api.md", "docs/cli.md", "docs/definition.md", "docs/operations.md"


@pytest.fixture(scope="module")
def functions() -> set[str]:
    """Names that the examples may call."""
    return {*load_registry(Settings.model_validate({"tasks": "examples.my_tasks,examples.wfformat_tasks"})).names(), "total"}


def json_blocks(path: Path) -> list[tuple[str, JsonValue]]:
    return [(block.place, strict_json.parse(block.text.encode())) for block in blocks(path, "json")]


def is_definition(value: JsonValue) -> bool:
    return isinstance(value, dict) and (isinstance(value.get("steps"), list) or isinstance(value.get("tasks"), dict))


def test_every_json_block_is_json_and_every_definition_compiles(functions: set[str]) -> None:
    compiled = 0
    for path in PAGES:
        for place, value in json_blocks(path):
            if is_definition(value):
                graph = compile_document(value, functions=functions)[1]
                assert graph.tasks, place
                compiled += 1
    assert compiled >= 5


def test_every_definition_in_a_command_compiles_or_is_there_to_be_refused(functions: set[str]) -> None:
    refused: list[str] = []
    compiled = 0
    for path in PAGES:
        for block in blocks(path, "console"):
            for text in re.findall(r"(?:-d|echo) '(\{.*?\})'", block.text, re.DOTALL):
                value = strict_json.parse(text.encode())
                if is_definition(value):
                    try:
                        compile_document(value, functions=functions)
                        compiled += 1
                    except DefinitionError:
                        refused.append(block.place.partition(":")[0])
    assert compiled >= 2
    assert refused == ["api.md"]


def test_each_documented_problem_is_what_its_example_gets() -> None:
    documented: set[str] = set()
    for code, example, answer in (cells for cells in rows(text_of(DEFINITION)) if "` → " in cells[-1]):
        documented.add(code.strip("`"))
        message, remedy = answer.removeprefix("`").rsplit("` → ", 1)
        if not example.startswith("`{"):
            continue
        with pytest.raises(DefinitionError) as caught:
            compile_document(strict_json.parse(example.strip("`").encode()), functions=BUILT_IN)
        (problem,) = caught.value.problems
        assert (problem.code, problem.message, problem.remedy) == (code.strip("`"), message, remedy)
    assert documented >= codes_in_the_engine()


def codes_in_the_engine() -> set[str]:
    """The codes that `Problem` lists."""
    listed = (ROOT / "engine" / "errors.py").read_text().partition("Stable word for programs:")[2].partition('"""')[0]
    found = set(re.findall(r"`([a-z-]+)`", listed))
    assert len(found) >= 10
    return found


def test_every_field_of_a_definition_is_documented() -> None:
    documented = {cells[0].strip("`") for cells in rows(text_of(DEFINITION))}
    schema = make_pod().app.openapi()["components"]["schemas"]
    for model in ("WorkflowDefinition", "Step", "TaskSpec"):
        assert set(schema[model]["properties"]) <= documented, model
    wait = {f"wait.{name}" for name in schema["WaitPolicy"]["properties"]}
    assert wait | (set(schema["RetryPolicy"]["properties"]) - {"wait"}) <= documented


def settings_rows() -> dict[str, list[str]]:
    return {cells[0].strip("`"): cells[1:] for cells in rows(text_of(OPERATIONS)) if re.fullmatch(r"`(PEERFLOW_\w+|DEBUG)`", cells[0])}


def test_every_setting_is_documented_with_its_default_and_its_range() -> None:
    documented, settings = settings_rows(), Settings()
    assert list(documented) == [variable(field) for field in Settings.model_fields]
    for field, info in Settings.model_fields.items():
        default, _, must_be = documented[variable(field)]
        value = FOR_THE_MACHINE.get(variable(field)) or shown(info.get_default(call_default_factory=True, validated_data={})) or "none"
        assert default.strip("`") == value, field
        assert must_be == cast("dict[str, str]", info.json_schema_extra)["must_be"], field
        assert hasattr(settings, field)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_variable_that_is_named_exists(path: Path) -> None:
    known = {variable(field) for field in Settings.model_fields} | NOT_FOR_PODS
    typing_error = "PEERFLOW_CONCURENCY"
    named = set(re.findall(r"\bPEERFLOW_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))) - {typing_error}
    assert named <= known


def test_calls_in_the_documentation_and_in_openapi_are_the_same() -> None:
    paths: dict[str, dict[str, Any]] = make_pod().app.openapi()["paths"]
    calls = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    assert set(sections(text_of(API), "### ")) == calls


def test_each_answer_in_the_documentation_has_the_shape_of_its_call() -> None:
    routes = {f"{min(route.methods - {'HEAD'})} {route.path}": route for route in api_routes()}
    for call, text in sections(text_of(API), "### ").items():
        models = [answer["model"] for answer in routes[call].responses.values() if "model" in answer]
        for answer in re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            assert any(fits(model, answer) for model in models), (call, answer)
    (problem,) = re.findall(r"^```json\n(.*?)^```$", sections(text_of(API), "## ")["Problem documents"], re.DOTALL | re.MULTILINE)
    ProblemDocument.model_validate_json(problem)


def api_routes() -> list[Any]:
    found: list[Any] = []
    for route in make_pod().app.routes:
        inner: list[Any] = list(getattr(getattr(route, "original_router", None), "routes", [route]))
        found += [candidate for candidate in inner if isinstance(candidate, Route) and candidate.include_in_schema]
    return found


def fits(model: type[BaseModel], text: str) -> bool:
    try:
        model.model_validate_json(text)
    except ValueError:
        return False
    return True


def test_every_query_parameter_is_documented() -> None:
    text = text_of(API)
    for path, operations in make_pod().app.openapi()["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] != "path":
                    assert re.search(rf"[`?&]{parameter['name']}\b", text), (path, parameter["name"])


def test_every_type_of_refusal_is_documented_with_its_status() -> None:
    table = [cells for cells in rows(text_of(API)) if cells[0].isdecimal()]
    assert {name for cells in table for name in re.findall(r"`([a-z-]+)`", cells[1])} == set(TITLES)


def test_every_log_event_is_documented() -> None:
    documented = {name for cells in rows(text_of(OPERATIONS)) for name in re.findall(r"`([a-z]+_[a-z]+)`", cells[0])}
    words = cast("dict[type, object]", logging._WORDS)  # pyright: ignore[reportPrivateUsage]
    names = {re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower() for event in words}
    assert documented == names


def commands() -> dict[str, Any]:
    """Click's commands by all their words; typer brings a click of its own, whose types are not public."""
    found: dict[str, Any] = {}
    for name, command in dict(cast("Any", typer.main.get_command(app)).commands).items():
        inner: dict[str, Any] = getattr(command, "commands", {})
        found |= {f"{name} {word}": part for word, part in inner.items()} or {name: command}
    return found


def test_commands_in_the_documentation_and_in_the_program_are_the_same() -> None:
    assert set(sections(text_of(CLI), "### ")) == {f"peerflow {name}" for name in commands()}


@pytest.mark.parametrize("name", list(commands()))
def test_every_option_of_a_command_is_documented(name: str) -> None:
    everywhere = text_of(CLI).partition("###")[0]
    text = sections(text_of(CLI), "### ")[f"peerflow {name}"]
    options = [parameter for parameter in commands()[name].params if parameter.param_type_name == "option" and not parameter.hidden]
    assert options
    for option in options:
        assert any(f"`{option.opts[0]}" in place for place in (text, everywhere)), option.opts


@pytest.mark.skipif(not (ROOT / "SECURITY.md").exists(), reason="not a whole clone: the image holds only some of its files")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    for link in links(path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_in_the_documentation_is_python(path: Path) -> None:
    for block in blocks(path, "python"):
        compile(block.text, block.place, "exec")


def test_examples_in_the_documentation_speak_of_real_files() -> None:
    for path in PAGES:
        for block in blocks(path, "console"):
            for file in re.findall(r"\bexamples/[\w./-]+\.\w+", block.text):
                assert (ROOT / file).exists(), (block.place, file)
    assert json.loads((ROOT / "examples" / "steps.json").read_text())
