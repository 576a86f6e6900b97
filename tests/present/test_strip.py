import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.measure.metrics import METRICS, SUMMARISED
from core.measure.tokens import TokenScore
from core.present.strip import HOVER_CHOICES, display_texts, scale, shared_words, strip
from tests.tokens import choices, token

SMILE = "😀".encode()


def _scored(content: str | bytes, js_distance: float = 0.25, **scores: float) -> TokenScore:
    values = dict.fromkeys(SUMMARISED, 0.0) | {"js_distance": js_distance, "kl_tuned_base": 0.123456} | scores
    tops = {"top_base": choices(*range(10)), "top_tuned": choices(*range(20, 30))}
    return token(content, rank_base=3, rank_tuned=1, **values, **tops)


def _pieces(text: str, cuts: list[int]) -> list[bytes]:
    raw = text.encode()
    inside = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [raw[a:b] for a, b in pairwise(inside)]


class TestDisplayTexts:
    @pytest.mark.parametrize(
        ("pieces", "expected"),
        [
            ([], []),
            ([b"Chest", b" pain"], ["Chest", " pain"]),
            ([SMILE[:1], SMILE[1:3], SMILE[3:]], ["😀", "", ""]),
            ([b"ok ", SMILE[:2], SMILE[2:], b"!"], ["ok ", "😀", "", "!"]),
            ([b" " + SMILE[:3], SMILE[3:], b" x"], [" 😀", "", " x"]),
            ([SMILE + SMILE], ["😀😀"]),
            ([b"a", b"", b"b"], ["a", "", "b"]),
        ],
    )
    def test_a_split_character_is_shown_whole_once(self, pieces: list[bytes], expected: list[str]) -> None:
        assert display_texts(pieces) == expected

    @pytest.mark.parametrize(
        ("pieces", "expected"),
        [
            ([b"\xff", b"ok"], ["\ufffd", "ok"]),
            ([b"a\xff", b"b"], ["a\ufffd", "b"]),
            ([b"ok", SMILE[:2]], ["ok", "\ufffd"]),
            ([SMILE[2:], b"ok"], ["\ufffd\ufffd", "ok"]),
        ],
    )
    def test_bytes_that_are_no_text_are_marked(self, pieces: list[bytes], expected: list[str]) -> None:
        assert display_texts(pieces) == expected

    @given(st.text(max_size=12), st.lists(st.integers(0, 60), max_size=8))
    @settings(deadline=None)
    def test_nothing_of_a_text_is_lost_however_it_is_cut(self, text: str, cuts: list[int]) -> None:
        pieces = _pieces(text, cuts)
        shown = display_texts(pieces)
        assert len(shown) == len(pieces)
        assert "".join(shown) == text

    @given(st.lists(st.binary(max_size=4), max_size=8))
    @settings(deadline=None)
    def test_any_bytes_can_be_shown(self, pieces: list[bytes]) -> None:
        shown = display_texts(pieces)
        assert len(shown) == len(pieces)
        "".join(shown).encode()

    @pytest.mark.parametrize(
        ("pieces", "expected"),
        [
            ([b" \xc3", b"\xa9tat"], [" é", "tat"]),
            ([b"\xe4\xbd", b"\xa0\xe5", b"\xa5\xbd"], ["你", "好", ""]),
            ([SMILE[:2], b"hi"], ["\ufffd", "hi"]),
            ([b"\xff" + SMILE[:2], SMILE[2:]], ["\ufffd😀", ""]),
        ],
    )
    def test_what_follows_a_split_character_stays_with_its_token(
        self, pieces: list[bytes], expected: list[str]
    ) -> None:
        assert display_texts(pieces) == expected


class TestStrip:
    def test_tokens_are_text_value_and_part(self) -> None:
        lane = strip("tuned", "Fine-tuned", [_scored(" pain", 0.25), token("\n\n", "format")], noise=1e-4)
        assert lane["tokens"] == [[" pain", 0.25, "answer"], ["\n\n", None, "format"]]
        assert (lane["mark"], lane["title"], lane["noise"]) == ("●", "Fine-tuned", 1e-4)
        assert lane["colour"] == {"light": "#BF5000", "dark": "#F28E4B"}
        assert (lane["parted"], lane["running"], lane["note"]) == (None, False, "")

    def test_another_metric_brings_its_own_values_and_scale(self) -> None:
        lane = strip("base", "Base", [_scored("x", delta_logp=-1.5)], noise=0.0, metric_name="delta_logp")
        assert lane["tokens"] == [["x", -1.5, "answer"]]
        assert lane["scale"]["domain"] == [-4, 4]
        assert lane["scale"]["label"] == METRICS["delta_logp"].label

    def test_characters_split_over_tokens_are_shown_whole(self) -> None:
        lane = strip("base", "Base", [_scored(SMILE[:2]), _scored(SMILE[2:])], noise=0.0)
        assert [text for text, _, _ in lane["tokens"]] == ["😀", ""]

    def test_details_hold_figure_rank_and_first_choices(self) -> None:
        lane = strip("tuned", "Fine-tuned", [token("first"), _scored("x")], noise=0.0)
        unscored, (kl, rank, base, tuned) = lane["details"]
        assert unscored is None
        assert (kl, rank) == (0.123, 3)
        assert base == [["t0", -1.0], ["t1", -2.0], ["t2", -3.0], ["t3", -4.0], ["t4", -5.0]]
        assert [text for text, _ in tuned] == [f"t{n}" for n in range(20, 20 + HOVER_CHOICES)]

    def test_details_can_be_left_out(self) -> None:
        assert strip("base", "Base", [_scored("x")], noise=0.0, with_details=False)["details"] == []

    @pytest.mark.parametrize("metric_name", METRICS)
    def test_a_strip_survives_json(self, metric_name: str) -> None:
        tokens = [token("first", "template"), _scored(SMILE[:2]), _scored(b"\xff"), _scored("x")]
        lane = strip(
            "hybrid", "Hybrid", tokens, noise=1e-5,
            metric_name=metric_name, parted=2, running=True, note="4 tokens",
        )  # fmt: skip
        assert json.loads(json.dumps(lane, allow_nan=False)) == lane

    def test_an_empty_answer_is_an_empty_strip(self) -> None:
        lane = strip("base", "Base", [], noise=0.0, running=True)
        assert (lane["tokens"], lane["details"], lane["running"]) == ([], [], True)

    def test_values_are_short_but_not_rescaled(self) -> None:
        ((_, value, _),) = strip("base", "Base", [_scored("x", 0.123456789)], noise=0.0)["tokens"]
        assert value == pytest.approx(0.123456789, abs=1e-4)
        assert len(str(value)) <= 8

    @pytest.mark.parametrize(
        ("metric_name", "value", "noise"), [("js_distance", 4e-5, 3e-5), ("kl_tuned_base", 4e-5, 3e-9)]
    )
    def test_a_value_above_the_noise_stays_above_it(self, metric_name: str, value: float, noise: float) -> None:
        lane = strip("base", "Base", [_scored("x", **{metric_name: value})], noise, metric_name=metric_name)
        assert lane["tokens"][0][1] >= noise


@pytest.mark.parametrize("name", METRICS)
def test_a_scale_names_its_unit_and_its_colours(name: str) -> None:
    found = scale(name)
    assert (found["label"], found["unit"]) == (METRICS[name].label, METRICS[name].unit)
    assert found["domain"] == [*METRICS[name].domain]
    assert len(found["light"]) == len(found["dark"]) == (5 if METRICS[name].signed else 4)


@pytest.mark.parametrize(
    ("n_tokens", "parted", "whole", "expected"),
    [
        (5, None, True, "The same as the base model's answer."),
        (5, None, False, "The same as the base model's answer, as far as both were written."),
        (5, None, None, ""),
        (0, None, True, ""),
        (5, 0, None, "Differs from the first token on."),
        (5, 1, None, "1 token as in the base model's answer."),
        (5, 3, False, "3 tokens as in the base model's answer."),
    ],
)
def test_how_far_an_answer_is_the_base_models(
    n_tokens: int, parted: int | None, whole: bool | None, expected: str
) -> None:
    assert shared_words(n_tokens, parted, whole) == expected
    lane = strip("tuned", "Fine-tuned", [_scored("x")] * n_tokens, 0.0, parted=parted, whole=whole)
    assert lane["shared"] == expected
