"""The Weights page, without a browser."""

import json
from collections.abc import Callable

import pytest
from safetensors.torch import load_file
from streamlit.testing.v1 import AppTest

from core.measure.weights import weight_changes
from core.pair.fetch import local_folder
from core.pair.registry import pair_spec
from core.present.texts import two_digits
from core.present.weight_words import largest
from tests.conftest import TinyFolders
from tests.test_app import finished, open_app, settled, texts
from tests.tiny import N_LAYERS, build_adapter

__all__ = ["open_app"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")


def weights_page(app: AppTest) -> AppTest:
    return settled(app.switch_page("pages/weights.py").run())


@pytest.fixture
def page(open_app: Callable[..., AppTest], folders: TinyFolders) -> AppTest:
    app = open_app("--base", str(folders.base), "--tuned", str(folders.tuned))
    app.number_input(key="max_new_tokens").set_value(12)
    finished(app, "What is asthma?")
    return weights_page(app)


def test_sizes_directions_and_effects_are_shown(page: AppTest) -> None:
    changes = weight_changes(page.session_state["run"].worker.pair)
    top = largest(changes.modules, "relative_frobenius")
    assert f"The largest value is {two_digits(top.relative_frobenius)}, at layer {top.layer}" in texts(page.markdown)
    assert page.selectbox(key="weights_module").value == (top.layer, top.projection)
    assert f"a stable rank of {two_digits(top.stable_rank)}" in texts(page.markdown)
    assert f"n = {2 * N_LAYERS}" in texts(page.markdown)
    assert f"(n = {N_LAYERS})" in texts(page.caption)
    swept = page.session_state["tasks"]["weight effects"].task.result
    assert [plan.name for plan in swept.results[:2]] == ["single 0 attn", "single 1 attn"]


def test_sizes_need_no_text(page: AppTest) -> None:
    page.selectbox(key="text_first").set_value("A pasted answer").run()
    assert not page.exception
    assert "The largest value is" in texts(page.markdown)
    assert "Do big weights" not in texts(page.markdown)
    page.selectbox(key="weights_measure").set_value("on_data").run()
    assert "This measure needs a text" in texts(page.info)
    assert "The largest value is" not in texts(page.markdown)


def test_every_measure_is_compared_with_one_and_the_same_sweep(page: AppTest) -> None:
    first = page.session_state["tasks"]["weight effects"].task
    for measure, label in (("spectral", "spectral norm"), ("stable_rank", "stable rank"), ("on_data", "on the text")):
        page.selectbox(key="weights_measure").set_value(measure).run()
        settled(page)
        assert f"attention and MLP: {label}" in texts(page.caption)
    assert page.session_state["tasks"]["weight effects"].task is first
    norms = page.session_state["tasks"]["weights on data"].task.result
    assert norms.n_tokens == len(page.session_state["tasks"]["weights on data"].identity) - 1


def test_another_projection_shows_its_own_directions(page: AppTest) -> None:
    changes = weight_changes(page.session_state["run"].worker.pair)
    other = next(module for module in changes.modules if (module.layer, module.projection) == (2, "o_proj"))
    page.selectbox(key="weights_module").set_value((2, "o_proj")).run()
    assert "At layer 2, o the strongest of 4 directions" in texts(page.markdown)
    assert f"‖ΔW‖_F is {two_digits(other.frobenius)}" in texts(page.caption)


def test_an_unchanged_projection_says_so_and_a_text_without_a_difference_too(
    open_app: Callable[..., AppTest], folders: TinyFolders, tmp_path_factory: pytest.TempPathFactory
) -> None:
    zero = build_adapter(folders.base, tmp_path_factory.mktemp("zero"), zero=True, target_modules=["q_proj"])
    app = open_app("--base", str(folders.base), "--tuned", str(zero))
    app.number_input(key="max_new_tokens").set_value(5)
    finished(app, "What is asthma?")
    page = weights_page(app)
    assert "No weight changed" in texts(page.markdown)
    assert "Nothing changed at layer 0, q" in texts(page.markdown)
    assert "rank correlation" not in texts(page.markdown)


def _largest_change() -> tuple[int, str, float]:
    """Layer and projection of the demo pair with the largest ‖ΔW‖/‖W‖, from its files alone."""
    spec = pair_spec("demo")
    weights = load_file(local_folder(spec.base) / "model.safetensors")
    folder = local_folder(spec.tuned)
    factors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    found = []
    for name, down in factors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            up = factors[name.replace("lora_A", "lora_B")]
            change = config["lora_alpha"] / config["r"] * up.float() @ down.float()
            share = float(change.norm() / weights[f"{module}.weight"].float().norm())
            found.append((int(module.split(".")[2]), module.split(".")[-1].removesuffix("_proj"), share))
    return max(found, key=lambda one: one[2])


@pytest.mark.slow
def test_the_demo_pair(open_app: Callable[..., AppTest]) -> None:
    """On the recorded example, which is there before anything is asked."""
    page = weights_page(open_app())
    assert not page.error
    layer, projection, largest = _largest_change()
    assert f"The largest value is {two_digits(largest)}, at layer {layer}, {projection}" in texts(page.markdown)
    assert "of 16 directions holds" in texts(page.markdown)
    assert "n = 60" in texts(page.markdown)
    page.selectbox(key="weights_measure").set_value("on_data").run()
    settled(page)
    assert "rank correlation" in texts(page.markdown)
