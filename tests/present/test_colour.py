import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.measure.metrics import METRICS, Metric
from core.present.colour import BACKGROUND, SPEAKER_WORDS, SPEAKERS, colour_of, contrast, stops, text_on

THEMES = ("light", "dark")
ROOT = Path(__file__).parents[2]
SIGNED = [metric for metric in METRICS.values() if metric.signed]
UNSIGNED = [metric for metric in METRICS.values() if not metric.signed]
by_theme = pytest.mark.parametrize("theme", THEMES)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
every_unsigned = pytest.mark.parametrize("metric", UNSIGNED, ids=lambda metric: metric.name)


def _samples(metric: Metric) -> list[float]:
    """Two hundred values over the whole scale and past its ends."""
    low, high = metric.domain
    margin = (high - low) / 10
    return np.linspace(low - margin, high + margin, 200).tolist()


def _red_blue(colour: str) -> tuple[int, int]:
    return int(colour[1:3], 16), int(colour[5:7], 16)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("#000000", "#FFFFFF", 21.0),
        ("#123456", "#123456", 1.0),
        ("#767676", "#FFFFFF", 4.54),
        ("#FF0000", "#FFFFFF", 4.0),
        ("#0000FF", "#FFFFFF", 8.59),
    ],
)
def test_contrast_of_known_colours(a: str, b: str, expected: float) -> None:
    assert contrast(a, b) == pytest.approx(expected, abs=0.005)
    assert contrast(a, b) == contrast(b, a)


@by_theme
def test_the_background_is_the_pages(theme: str) -> None:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert getattr(BACKGROUND, theme) == settings["theme"][theme]["backgroundColor"]


@by_theme
@pytest.mark.parametrize("speaker", ["base", "tuned", "hybrid"])
def test_speakers_can_be_read_on_the_page(speaker: str, theme: str) -> None:
    assert contrast(getattr(SPEAKERS[speaker], theme), getattr(BACKGROUND, theme)) >= 4.5


def test_speakers_have_three_colours_and_a_word_each() -> None:
    assert SPEAKER_WORDS == {"base": "Base", "hybrid": "Hybrid", "tuned": "Fine-tuned"}
    for theme in THEMES:
        assert len({getattr(colour, theme) for colour in SPEAKERS.values()}) == 3


@by_theme
@every_metric
def test_no_difference_is_the_page_itself(metric: Metric, theme: str) -> None:
    assert colour_of(0.0, metric.name, theme) == getattr(BACKGROUND, theme)


@by_theme
@every_metric
def test_letters_can_be_read_over_the_whole_scale(metric: Metric, theme: str) -> None:
    for value in _samples(metric):
        background = colour_of(value, metric.name, theme)
        letters = text_on(background)
        assert letters in ("#000000", "#FFFFFF")
        assert contrast(letters, background) >= 4.5, value


@by_theme
@every_metric
def test_values_past_the_ends_are_clipped(metric: Metric, theme: str) -> None:
    low, high = metric.domain
    assert colour_of(low - 100, metric.name, theme) == colour_of(low, metric.name, theme)
    assert colour_of(high + 100, metric.name, theme) == colour_of(high, metric.name, theme)
    assert colour_of(high, metric.name, theme) == stops(metric, theme)[-1]


@pytest.mark.parametrize(
    ("theme", "promised"),
    [("light", ["#FDD49E", "#EF6548", "#7F0000"]), ("dark", ["#5A2A16", "#C2521F", "#FFD9A0"])],
)
@pytest.mark.parametrize(("metric_name", "end"), [("js_distance", 1.0), ("tv", 1.0), ("kl_tuned_base", 4.0)])
def test_the_scale_passes_through_its_colours(metric_name: str, end: float, theme: str, promised: list[str]) -> None:
    assert [colour_of(end * third / 3, metric_name, theme) for third in (1, 2, 3)] == promised


def test_between_two_colours_lies_their_mean() -> None:
    # A sixth of the way: half between #FFFFFF and #FDD49E.
    channels = [int(colour_of(1 / 6, "tv", "light")[i : i + 2], 16) for i in (1, 3, 5)]
    assert channels == pytest.approx([254, 233.5, 206.5], abs=0.51)


@by_theme
@every_unsigned
def test_larger_values_stand_out_more(metric: Metric, theme: str) -> None:
    background = getattr(BACKGROUND, theme)
    marked = [contrast(colour_of(value, metric.name, theme), background) for value in _samples(metric)]
    assert all(a <= b + 0.01 for a, b in pairwise(marked))
    assert marked[-1] > 4.5


@by_theme
@pytest.mark.parametrize("metric", SIGNED, ids=lambda metric: metric.name)
def test_signed_scales_are_symmetric_from_blue_to_orange(metric: Metric, theme: str) -> None:
    low, high = metric.domain
    assert low == -high
    for share in (0.25, 0.5, 1.0):
        red, blue = _red_blue(colour_of(low * share, metric.name, theme))
        assert blue > red
        red, blue = _red_blue(colour_of(high * share, metric.name, theme))
        assert red > blue


def test_domains_do_not_depend_on_a_text() -> None:
    promised = {"js_distance": (0, 1), "kl_tuned_base": (0, 4), "kl_base_tuned": (0, 4), "tv": (0, 1)}
    assert {name: METRICS[name].domain for name in promised} == promised
