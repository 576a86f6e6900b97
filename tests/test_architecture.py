"""The house rules, read from the code itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
SHARED = sorted((ROOT / "pages" / "_shared").glob("*.py"))
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))]

# A room may use itself and the rooms it names.
ALLOWED = {
    "errors": set(),
    "pair": {"errors"},
    "measure": {"errors", "pair"},
    "data": {"errors", "pair"},
    "train": {"errors", "pair", "data"},
    "intervene": {"errors", "pair", "measure"},
    "generate": {"errors", "pair", "measure"},
    "study": {"errors", "pair", "data", "measure", "intervene", "generate"},
    "present": {"errors", "pair", "data", "measure", "intervene", "generate", "study", "train"},
    "commands": {"errors", "pair", "data", "measure", "intervene", "generate", "study", "train", "present"},
    "__main__": {"errors", "present", "commands"},
    "__init__": {"pair"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE, ids=short)
def test_core_knows_no_streamlit_and_dependencies_point_one_way(path: Path) -> None:
    names = imports(path)
    assert not {n for n in names if n.split(".")[0] in ("streamlit", "pages")}
    parts = path.relative_to(ROOT / "core").with_suffix("").parts
    room = parts[0]
    used = {n.split(".")[1] for n in names if n.startswith("core.")}
    assert used <= ALLOWED[room] | {room}
    if room != "present":
        assert "altair" not in {n.split(".")[0] for n in names}


@pytest.mark.parametrize("path", [*PAGES, *SHARED], ids=short)
def test_pages_run_no_models(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path)} & {"torch", "transformers", "peft", "altair"}


@pytest.mark.parametrize("path", [*PAGES, *SHARED], ids=short)
def test_caching_has_one_home(path: Path) -> None:
    if path.name != "resources.py":
        assert "st.cache_" not in path.read_text()


@pytest.mark.parametrize("path", PAGES, ids=short)
def test_every_page_opens_the_frame_first(path: Path) -> None:
    calls = [
        node.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    first = calls[0].func
    assert isinstance(first, ast.Name)
    assert first.id == "open_page"


@pytest.mark.parametrize("path", [*CORE, *SHARED], ids=short)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", PAGES, ids=short)
def test_pages_stay_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 120


@pytest.mark.parametrize("path", [*CORE, *SHARED, *PAGES], ids=short)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_pages_use_no_navigation_beside_the_pages_folder() -> None:
    assert not [short(p) for p in [*PAGES, *SHARED] if "st.navigation(" in p.read_text()]
