"""Lanes of several rows, lanes that begin with given tokens, and rows that join and leave a batch."""

import random

import pytest
import torch

from core.errors import ArgumentError, TooLongError
from core.generate.batch import Batch
from core.generate.lane import Lane, amplified_lane, patched_lane
from core.generate.lanes import Decoding, start_alone
from core.generate.sampling import Sampling
from core.generate.scored import ScoredDecoding
from core.generate.seat import Seat
from core.measure.divergence import kl_divergence
from core.pair.gates import Gates
from core.pair.pair import Pair

PROMPT = [5, 80, 33, 200, 7, 150]
NEW = 24


def written(pair: Pair, lanes: list[Lane], n: int = NEW, **settings: object) -> list[list[int]]:
    decoding = Decoding(pair, PROMPT, lanes, max_new_tokens=n, **settings)  # type: ignore[arg-type]
    for _ in decoding:
        pass
    return decoding.tokens


def grafted(pair: Pair, layers: list[int], part: str = "both") -> Lane:
    return Lane("grafted", Gates.graft(pair.n_layers, layers, part))


@pytest.mark.parametrize("layer", range(4))
def test_the_whole_residual_patched_writes_what_the_layers_up_to_it_grafted_write(pair: Pair, layer: int) -> None:
    patched = patched_lane("patched", pair.base_gates(), pair.tuned_gates(), "resid_post", (layer,))
    together = written(pair, [patched, grafted(pair, list(range(layer + 1)))])
    assert together[0] == together[1]
    assert written(pair, [patched])[0] == together[0]


def test_patched_parts_write_as_when_every_token_is_patched_anew(pair: Pair) -> None:
    """Each token against one pass over the whole text with both rows in it: no cache, no steps."""
    lane = patched_lane("patched", pair.base_gates(), pair.tuned_gates(), "mlp_out", (1, 3))
    tokens = written(pair, [Lane("base", pair.base_gates()), lane])[1]
    ids = pair.ids([[*PROMPT, *tokens[:-1]]] * 2)
    with torch.no_grad():
        logits = pair.unembed(pair.hidden(ids, lane.gates, patches=lane.patches(0)))[0, len(PROMPT) - 1 :]
    assert logits.argmax(-1).tolist() == tokens
    assert tokens != written(pair, [Lane("base", pair.base_gates())])[0]


@pytest.mark.parametrize(("alpha", "strength"), [(-1.0, 0.0), (0.0, 1.0)])
def test_amplification_begins_at_base_and_passes_tuned(pair: Pair, alpha: float, strength: float) -> None:
    lane = amplified_lane("amplified", pair.base_gates(), pair.tuned_gates(), alpha)
    plain = Lane("plain", Gates.uniform(pair.n_layers, strength))
    assert written(pair, [lane])[0] == written(pair, [plain])[0]


def test_amplified_logits_are_extrapolated_and_so_is_their_score(pair: Pair) -> None:
    alpha = 1.5
    lane = amplified_lane("amplified", pair.base_gates(), pair.tuned_gates(), alpha)
    decoding = ScoredDecoding(pair, PROMPT, [lane], Sampling(), NEW)
    to_base = torch.cat([found.kl_to_base for update in decoding for found in update.scores])
    tokens = decoding.seat.tokens[0]
    ids = pair.ids([[*PROMPT, *tokens[:-1]]] * 2)
    with torch.no_grad():
        logits = pair.unembed(pair.hidden(ids, Gates.stack([pair.base_gates(), pair.tuned_gates()])))
    base, tuned = logits[:, len(PROMPT) - 1 :]
    own = tuned + alpha * (tuned - base)
    assert own.argmax(-1).tolist() == tokens
    assert torch.allclose(to_base, kl_divergence(own, base).double(), atol=1e-4)


def test_a_fork_goes_on_as_a_prompt_of_that_text_would(pair: Pair) -> None:
    begun = [17, 90, 4]
    lane = grafted(pair, [1])
    forked = written(pair, [lane, Lane("tuned", pair.tuned_gates())], begun=begun)
    longer = Decoding(pair, [*PROMPT, *begun], [lane], max_new_tokens=NEW - len(begun))
    for _ in longer:
        pass
    assert forked[0][:3] == forked[1][:3] == begun
    assert forked[0][3:] == longer.tokens[0]


def test_the_tokens_a_fork_begins_with_are_scored_too(pair: Pair) -> None:
    begun = list(range(40, 240))
    decoding = ScoredDecoding(pair, PROMPT, [grafted(pair, [1])], Sampling(), 210, begun)
    scores = [found for update in decoding for found in update.scores]
    tokens = decoding.seat.tokens[0]
    assert [found.first for found in scores][:3] == [0, 96, 192]
    kl = torch.cat([found.positions.values["kl_tuned_base"] for found in scores])
    with torch.no_grad():
        rows = Gates.stack([pair.base_gates(), pair.tuned_gates()])
        logits = pair.unembed(pair.hidden(pair.ids([[*PROMPT, *tokens[:-1]]] * 2), rows))[:, len(PROMPT) - 1 :]
    assert torch.allclose(kl, kl_divergence(logits[1], logits[0]).double(), atol=1e-4)


def test_coupled_lanes_with_equal_gates_never_part_and_others_do(pair: Pair) -> None:
    sampling = Sampling(1.0, 1.0, seed=4, coupled=True)
    lanes = [Lane("base", pair.base_gates()), Lane("again", pair.base_gates()), Lane("tuned", pair.tuned_gates())]
    decoding = ScoredDecoding(pair, PROMPT, lanes, sampling, NEW)
    scores = [found for update in decoding for found in update.scores]
    tokens = decoding.seat.tokens
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(found.parted is not None for found in scores)
    own = torch.cat([found.parted for found in scores if found.lane == 0 and found.parted is not None])
    tv = torch.cat([found.positions.values["tv"] for found in scores if found.lane == 0])
    assert 0 < float(own.double().mean()) < 1
    assert float(tv.mean()) > 0.05  # what these two models' distributions differ by at all


def test_random_seats_join_and_leave_and_write_what_they_write_alone(pair: Pair) -> None:
    dice = random.Random(3)
    seats, alone = [], []
    for number in range(7):
        prompt = [dice.randrange(20, 300) for _ in range(dice.randrange(2, 30))]
        lanes = [
            dice.choice(
                [
                    grafted(pair, [number % pair.n_layers], dice.choice(["attn", "mlp", "both"])),
                    patched_lane("p", pair.base_gates(), pair.tuned_gates(), "attn_out", (number % pair.n_layers,)),
                    amplified_lane("a", pair.base_gates(), pair.tuned_gates(), 0.5),
                ]
            )
            for _ in range(dice.randrange(1, 4))
        ]
        n_new = dice.randrange(1, 40)
        seats.append(Seat(pair, prompt, lanes, Sampling(), n_new))
        decoding = Decoding(pair, prompt, lanes, max_new_tokens=n_new)
        list(decoding)
        alone.append(decoding.tokens)
    batch, waiting = Batch(pair), list(enumerate(seats))
    cut: set[int] = set()
    while waiting or batch.seats:
        if waiting and (not batch.seats or dice.random() < 0.3):
            start_alone(batch, waiting.pop()[1])
        elif dice.random() < 0.02:
            left = dice.choice(batch.seats)
            cut.add(seats.index(left))
            batch.leave(left)
        else:
            batch.step()
    assert batch.n_rows == 0
    for number, (seat, expected) in enumerate(zip(seats, alone, strict=True)):
        for own, whole in zip(seat.tokens, expected, strict=True):
            assert own == whole[: len(own)]
            assert number in cut or own == whole


def test_lanes_that_make_no_sense_are_refused(pair: Pair) -> None:
    base, tuned = pair.base_gates(), pair.tuned_gates()
    with pytest.raises(ArgumentError, match="site 'nowhere'"):
        patched_lane("p", base, tuned, "nowhere", (0,))
    with pytest.raises(ArgumentError, match="Layer 4"):
        patched_lane("p", base, tuned, "resid_post", (4,))
    with pytest.raises(ArgumentError, match="needs a layer"):
        patched_lane("p", base, tuned, "resid_post", ())
    with pytest.raises(ArgumentError, match=r"-1..3"):
        amplified_lane("a", base, tuned, 3.5)
    with pytest.raises(TooLongError):
        Seat(pair, PROMPT, [grafted(pair, [0])], Sampling(), 5, begun=[7] * 506)


def test_a_seed_follows_from_what_a_lane_is_made_of(pair: Pair) -> None:
    base, tuned = pair.base_gates(), pair.tuned_gates()
    lanes = [
        Lane("base", base),
        Lane("tuned", tuned),
        Lane("half", Gates.uniform(pair.n_layers, 0.5)),
        grafted(pair, [1]),
        grafted(pair, [1], "attn"),
        patched_lane("p", base, tuned, "attn_out", (1,)),
        patched_lane("p", base, tuned, "attn_out", (2,)),
        patched_lane("p", base, tuned, "mlp_out", (1,)),
        patched_lane("p", tuned, base, "attn_out", (1,)),
        amplified_lane("a", base, tuned, 0.5),
        amplified_lane("a", base, tuned, 0.25),
    ]
    seeds = [lane.own_seed(seed) for lane in lanes for seed in (7, 8, 2**63 - 1)]
    seeds += [lane.own_seed(7, begun) for lane in lanes[:2] for begun in ([5], [6], [5, 6])]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert lanes[0].own_seed(7) == 7
    assert grafted(pair, [1]).own_seed(7) == Lane("of another name", Gates.graft(pair.n_layers, [1])).own_seed(7)


def test_lanes_share_their_noise_only_where_they_are_asked_to(pair: Pair) -> None:
    """Two models that are nearly the same choose alike under one noise, and not under noises of their own."""
    near = [Lane("base", pair.base_gates()), Lane("near", Gates.uniform(pair.n_layers, 1e-6))]
    written = {}
    for coupled in (True, False):
        decoding = Decoding(pair, PROMPT, near, Sampling(1.0, seed=4, coupled=coupled), NEW)
        list(decoding)
        written[coupled] = decoding.tokens
    assert written[True][0] == written[True][1]
    alike = sum(a == b for a, b in zip(*written[False], strict=False))
    assert alike < len(written[False][0]) / 2
