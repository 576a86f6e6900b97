"""docs/contract.md says what the code does: it is what its script makes of the code."""

import dataclasses
import importlib.util
import json
import re
from types import ModuleType

import pytest

from core.__main__ import COMMANDS, main
from core.present.reports import DiffReport
from tests.command import PROJECT

PAGE = PROJECT / "docs" / "contract.md"
OPTION = r"--[a-z][a-z-]+"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/make_contract.py as a module."""
    spec = importlib.util.spec_from_file_location("make_contract", PROJECT / "docs" / "make_contract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chapter(name: str) -> str:
    """One `##` chapter of the page."""
    chapters = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (found,) = [text for text in chapters if text.splitlines()[0] == name]
    return found


def test_the_page_is_what_the_script_writes(script: ModuleType) -> None:
    assert PAGE.read_text() == script.page(), "run `make docs`"


def test_the_page_has_a_chapter_for_every_command_and_no_other() -> None:
    chapters = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
    assert chapters == ["Manners", "Every report", *COMMANDS, "An example"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_chapter_names_every_option_that_help_shows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = set(re.findall(OPTION, capsys.readouterr().out)) - {"--help"}
    assert "--json" in shown
    assert shown <= set(re.findall(OPTION, chapter(name)))


def test_the_page_lists_every_exit_code() -> None:
    codes = re.findall(r"^\| (\d+) \|", chapter("Manners"), re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "130"]


def test_a_field_without_a_meaning_stops_the_script(script: ModuleType) -> None:
    @dataclasses.dataclass
    class Unheard:
        """A report of its own."""

        field: int

    with pytest.raises(SystemExit, match=r"Unheard\.field has no meaning"):
        script.field_table(Unheard)


def test_a_meaning_of_a_field_that_is_gone_stops_the_script(script: ModuleType) -> None:
    @dataclasses.dataclass
    class Changed:
        """A report.

        Attributes:
            old: what it was called.
        """

        new: int

    with pytest.raises(SystemExit, match=r"Changed\.old"):
        script.field_table(Changed)


def test_types_are_written_as_json_types(script: ModuleType) -> None:
    assert script.type_in_words(tuple[int, ...] | None) == "list of integer or null"
    assert script.type_in_words(dict[str, float]) == "object of number by name"
    assert script.type_in_words(list[list[float]]) == "list of list of number"
    with pytest.raises(SystemExit, match="complex"):
        script.type_in_words(complex)


def test_the_example_uses_fields_that_exist() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert set(json.loads(text)) <= {field.name for field in dataclasses.fields(DiffReport)}
