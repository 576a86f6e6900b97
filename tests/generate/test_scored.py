"""Scores made while decoding against scores of the finished text."""

import pytest
import torch

from core.generate.answers import ask, standard_lanes
from core.generate.lane import Lane
from core.generate.record import LaneAnswer
from core.generate.sampling import Sampling
from core.generate.scored import ScoredDecoding
from core.generate.scoring import CHUNK, LONGEST
from core.measure.diff import diff
from core.measure.divergence import kl_divergence
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt


def question(pair: Pair) -> Prompt:
    return pair.prompts.chat([Message(role="user", content="What is asthma?")])


def hybrid(pair: Pair) -> Gates:
    return Gates.graft(pair.n_layers, [0, 2], "mlp", 0.8)


@pytest.fixture(scope="module")
def answers(pair: Pair) -> tuple[LaneAnswer, ...]:
    return ask(pair, question(pair), standard_lanes(pair, {"hybrid": hybrid(pair)}), Sampling(), 30).lanes


@pytest.mark.parametrize("n_new", [1, 2, 30])
@pytest.mark.parametrize("begun", [(), (45, 60, 71)])
def test_scores_on_the_way_are_the_scores_of_the_text(pair: Pair, n_new: int, begun: tuple[int, ...]) -> None:
    prompt = question(pair)
    lanes = standard_lanes(pair, {"hybrid": hybrid(pair)})
    decoding = ScoredDecoding(pair, prompt.ids, lanes, Sampling(), len(begun) + n_new, begun)
    updates = list(decoding)
    assert bool(updates[0].scores) == (n_new == 1)  # first tokens are shown before they are scored
    for lane in range(3):
        found = [s for update in updates for s in update.scores if s.lane == lane]
        assert [s.first for s in found] == [sum(len(s.positions) for s in found[:k]) for k in range(len(found))]
        kl = torch.cat([s.positions.values["kl_tuned_base"] for s in found])
        ids = decoding.seat.tokens[lane]
        again = [t.kl_tuned_base for t in diff(pair, prompt, ids).tokens[len(prompt.ids) :]]
        assert kl.tolist() == pytest.approx(again, abs=1e-4)


def test_scores_follow_closely(pair: Pair) -> None:
    decoding = ScoredDecoding(pair, question(pair).ids, [Lane("tuned", pair.tuned_gates())], Sampling(), 40)
    written = scored = 0
    for update in decoding:
        written += 1
        scored += sum(len(found.positions) for found in update.scores)
        assert 0 <= written - scored <= (CHUNK if written <= CHUNK else LONGEST)
    assert scored == written


def test_kl_to_each_model_is_on_the_lanes_own_text(pair: Pair, answers: tuple[LaneAnswer, ...]) -> None:
    prompt = question(pair)
    for answer, gates in zip(answers, (pair.base_gates(), hybrid(pair), pair.tuned_gates()), strict=True):
        rows = Gates.stack([gates, pair.base_gates(), pair.tuned_gates()])
        with torch.no_grad():
            logits = pair.unembed(pair.hidden(pair.ids([[*prompt.ids, *answer.ids]] * 3), rows))
        own, base, tuned = logits[:, len(prompt.ids) - 1 : -1]
        kept = [part in ("reasoning", "answer") for part in answer.parts]
        assert answer.kl_to_base == pytest.approx(float(kl_divergence(own, base)[kept].mean()), abs=1e-4)
        assert answer.kl_to_tuned == pytest.approx(float(kl_divergence(own, tuned)[kept].mean()), abs=1e-4)


def test_a_lane_is_at_no_distance_from_itself(answers: tuple[LaneAnswer, ...]) -> None:
    assert answers[0].kl_to_base == 0
    assert answers[2].kl_to_tuned == 0
    assert min(answers[0].kl_to_tuned or 0, answers[1].kl_to_base or 0, answers[1].kl_to_tuned or 0) > 0.01


def test_scoring_does_not_change_what_is_written(pair: Pair, answers: tuple[LaneAnswer, ...]) -> None:
    from core.generate.answers import greedy_answer

    assert answers[1].ids == greedy_answer(pair, question(pair), hybrid(pair), 30)


def test_one_forward_a_step_and_one_a_chunk(pair: Pair) -> None:
    before = pair.forwards
    lanes = standard_lanes(pair, {"hybrid": hybrid(pair)})
    decoding = ScoredDecoding(pair, question(pair).ids, lanes, Sampling(), 33)
    chunks = sum(bool(update.scores) for update in decoding)
    steps = max(len(tokens) for tokens in decoding.seat.tokens)
    assert pair.forwards - before <= steps + chunks
