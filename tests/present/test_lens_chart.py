"""The layer × token heatmap: one scale for every text, noise in grey, blanks where nothing is defined."""

from dataclasses import replace
from typing import Any

import pytest

from core.measure.lens import LENS_METRICS, ByLayer, Lens
from core.measure.metrics import METRICS
from core.present.colour import stops
from core.present.figures import FORMS
from core.present.lens_chart import (
    MAX_LABELS,
    lens_chart,
    lens_figure,
    lens_rows,
    mean_chart,
    mean_rows,
    token_label,
)
from core.present.provenance import Source

SOURCE = Source("demo", "base x, fine-tune y", "What is reflux?")


def found(n_positions: int = 3, scale: float = 1.0) -> Lens:
    row = [scale * (1 + k) for k in range(n_positions)]
    return Lens(
        layers=(1, 3),
        positions=tuple(range(1, 1 + n_positions)),
        kl=((1e-9, *row[1:]), tuple(row)),
        norm=((None, *row[1:]), (None, *row[1:])),
        cosine=((None, *row[1:]), (None, *row[1:])),
        mean=ByLayer((1.5, 2.0), (0.5, 0.6), (0.1, 0.2)),
        noise=ByLayer((1e-6, 1e-7), (1e-6, 1e-6), (1e-9, 1e-9)),
    )


def tokens(n: int = 3) -> list[str]:
    return [' "a\n', "\n", *(f" word'{k}" for k in range(2, n))]


def spec(metric: str, lens: Lens, theme: str = "light") -> dict[str, Any]:
    made: dict[str, Any] = lens_chart(lens_rows(lens, tokens(len(lens.positions))), metric, theme).to_dict()
    return made


def test_rows_have_every_metric_with_its_noise_and_direction() -> None:
    rows = lens_rows(found(), tokens())
    assert len(rows) == 6
    assert rows[4] == {
        "layer": 3, "pos": 2, "token": "\n", "lens_kl_tuned_base": 2.0, "drift_norm": 2.0, "drift_cosine": 2.0,
        "lens_kl_tuned_base_noise": 1e-7, "drift_norm_noise": 1e-6, "drift_cosine_noise": 1e-9,
    }  # fmt: skip
    assert [row["lens_kl_tuned_base"] for row in mean_rows(found())] == [1.5, 2.0]


def test_noise_is_grey_and_what_is_not_defined_is_blank() -> None:
    cells = spec("kl", found())["data"]["values"]
    assert [(cell["layer"], cell["pos"]) for cell in cells if cell["quiet"]] == [(1, 1)]
    drift = spec("norm", found())
    assert sorted((cell["layer"], cell["pos"]) for cell in drift["data"]["values"]) == [(1, 2), (1, 3), (3, 2), (3, 3)]
    assert drift["encoding"]["x"]["scale"]["domain"] == [1, 2, 3]


@pytest.mark.parametrize("metric", LENS_METRICS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_scale_is_the_metrics_own_whatever_the_values(metric: str, theme: str) -> None:
    colours = [spec(metric, found(scale=scale), theme)["encoding"]["color"] for scale in (1.0, 1e-4)]
    assert colours[0] == colours[1]
    scale = colours[0]["scale"] if "scale" in colours[0] else colours[0]["condition"]["scale"]
    assert (scale["domain"][0], scale["domain"][-1]) == LENS_METRICS[metric].domain
    assert scale["range"] == list(stops(LENS_METRICS[metric], theme))
    assert len(scale["domain"]) == len(scale["range"])


def test_the_lens_has_the_scale_of_the_output_divergence() -> None:
    assert LENS_METRICS["kl"].domain == METRICS["kl_tuned_base"].domain


def test_layer_0_is_at_the_bottom_and_a_click_says_which_cell() -> None:
    made = spec("kl", found())
    assert made["encoding"]["y"]["scale"]["domain"] == [3, 1]
    (param,) = made["params"]
    assert param["name"] == "cell"
    assert param["select"]["fields"] == ["layer", "pos"]


@pytest.mark.parametrize(("n", "shown"), [(3, 3), (40, 40), (41, 21), (130, 33)])
def test_at_most_forty_labels_are_shown(n: int, shown: int) -> None:
    axis = spec("kl", found(n))["encoding"]["x"]["axis"]
    assert len(axis["values"]) == shown <= MAX_LABELS
    assert axis["values"][0] == 1


@pytest.mark.parametrize(
    ("text", "label"),
    [(" word", "word"), ("\n", "↵"), (" ", "␣"), ("", "␣"), (" averyveryverylongword", "averyveryvery…")],
)
def test_a_label_is_one_short_line(text: str, label: str) -> None:
    assert token_label(text) == label


@pytest.mark.parametrize("metric", LENS_METRICS)
def test_every_form_is_drawn_and_names_the_same_data(metric: str) -> None:
    made = lens_figure(found(), tokens(), metric, "Layer × token", SOURCE)
    files = {kind: made.as_file(kind) for kind in FORMS}
    assert files["png"].startswith(b"\x89PNG")
    svg = files["svg"].decode()
    for words in ("↵", "word", "fixed scale"):
        assert words in svg, words
    assert ("approximate" in svg) == (metric == "kl")
    assert made.data_hash in files["csv"].decode()
    assert replace(made, rows=made.rows[1:]).data_hash != made.data_hash


def test_means_by_layer_are_drawn_for_every_metric() -> None:
    for metric in LENS_METRICS:
        assert mean_chart(mean_rows(found()), metric).to_dict()["mark"]["type"] == "line"
