"""Patches between rows of one batch, against grafts, against hooks on plain models, and against themselves."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from core.errors import ArgumentError, GraftError, ShapeError
from core.generate.cache import RowCache
from core.intervene.random_adapter import random_adapter
from core.pair.blocks import Blocks
from core.pair.gates import DIRECTIONS, Gates
from core.pair.pair import Pair
from core.pair.patches import SITES, RowPatch, with_patches
from tests.intervene.hooks import PlainPair, plain_pair

IDS = [5, 80, 33, 200, 7, 150, 99, 12, 300, 41]
N_PROMPT = 6
TOLERANCE = 1e-4
BASE, BYSTANDER, TUNED = range(3)


@pytest.fixture(scope="module")
def plain(pair: Pair) -> PlainPair:
    return plain_pair(pair)


def three(pair: Pair) -> Gates:
    """Rows that are BASE, BYSTANDER and TUNED."""
    return Gates.stack([pair.base_gates(), Gates.graft(pair.n_layers, [1], "mlp", 0.6), pair.tuned_gates()])


@torch.no_grad()
def prefilled(pair: Pair, gates: Gates, patches: Sequence[RowPatch] = ()) -> Tensor:
    return pair.unembed(pair.hidden(pair.ids([IDS] * gates.n_rows), gates, patches=patches))


def steps(pair: Pair, gates: Gates, patches: Sequence[RowPatch] = ()) -> Iterator[Tensor]:
    """Logits of the prompt, then of one token after the other, as decoding makes them."""
    cache = RowCache()
    for fed in [IDS[:N_PROMPT], *([token] for token in IDS[N_PROMPT:])]:
        with torch.no_grad():
            made = pair.unembed(pair.hidden(pair.ids([fed] * gates.n_rows), gates, cache=cache, patches=patches))
        yield made


def decoded(pair: Pair, gates: Gates, patches: Sequence[RowPatch] = ()) -> Tensor:
    return torch.cat(list(steps(pair, gates, patches)), dim=1)


ROUTES = pytest.mark.parametrize("run", [prefilled, decoded])
Run = Callable[..., Tensor]


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


@ROUTES
def test_the_whole_residual_is_a_graft_of_everything_below(pair: Pair, run: Run) -> None:
    plain_rows = run(pair, three(pair))
    for layer in range(pair.n_layers):
        found = run(pair, three(pair), [RowPatch("resid_post", (layer,), BASE, TUNED)])[BASE]
        assert apart(found, run(pair, Gates.graft(pair.n_layers, range(layer + 1)))[0]) <= TOLERANCE
        assert apart(found, plain_rows[BASE]) > 0.1


@ROUTES
def test_the_middle_of_a_layer_is_a_graft_of_what_is_below_and_its_attention(pair: Pair, run: Run) -> None:
    for layer in range(pair.n_layers):
        found = run(pair, three(pair), [RowPatch("resid_mid", (layer,), BASE, TUNED)])[BASE]
        below, attention = Gates.graft(pair.n_layers, range(layer)), Gates.graft(pair.n_layers, [layer], "attn")
        assert apart(found, run(pair, Gates(below.values + attention.values))[0]) <= TOLERANCE


@ROUTES
def test_what_enters_a_layer_is_what_left_the_one_below(pair: Pair, run: Run) -> None:
    for layer in range(1, pair.n_layers):
        entering = run(pair, three(pair), [RowPatch("resid_pre", (layer,), BASE, TUNED)])
        assert torch.equal(entering, run(pair, three(pair), [RowPatch("resid_post", (layer - 1,), BASE, TUNED)]))
    into_the_first = run(pair, three(pair), [RowPatch("resid_pre", (0,), BASE, TUNED)])
    assert torch.equal(into_the_first, run(pair, three(pair)))  # both rows read the same embeddings


def test_a_patched_prompt_alone_is_no_graft_of_the_answer(pair: Pair) -> None:
    """The recipient's own tokens stay its own where a pass gets no patches."""
    patches, cache = [RowPatch("resid_post", (1,), BASE, TUNED)], RowCache()
    with torch.no_grad():
        pair.hidden(pair.ids([IDS[:N_PROMPT]] * 3), three(pair), cache=cache, patches=patches)
        found = pair.unembed(pair.hidden(pair.ids([IDS[N_PROMPT:]] * 3), three(pair), cache=cache))[BASE]
    assert apart(found, prefilled(pair, Gates.graft(pair.n_layers, [0, 1]))[0, N_PROMPT:]) > 0.1
    assert apart(found, prefilled(pair, pair.base_gates())[0, N_PROMPT:]) > 0.1


@ROUTES
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("site", SITES)
def test_a_patch_is_what_hooks_on_plain_models_make_of_it(
    pair: Pair, plain: PlainPair, site: str, direction: str, run: Run
) -> None:
    recipient, donor = (BASE, TUNED) if direction == DIRECTIONS[0] else (TUNED, BASE)
    for layers in ((0,), (2,), (1, 3), tuple(range(pair.n_layers))):
        found = run(pair, three(pair), [RowPatch(site, layers, recipient, donor)])[recipient]
        expected = plain.patched_layers(IDS, site, layers, range(len(IDS)), direction)
        assert apart(found, expected) <= TOLERANCE


def test_of_a_whole_residual_only_the_highest_layer_matters(pair: Pair) -> None:
    for site in ("resid_pre", "resid_mid", "resid_post"):
        several = prefilled(pair, three(pair), [RowPatch(site, (2, 0, 1), BASE, TUNED)])
        highest = prefilled(pair, three(pair), [RowPatch(site, (2,), BASE, TUNED)])
        assert torch.equal(several, highest)


def test_of_what_a_part_adds_every_layer_matters(pair: Pair) -> None:
    for site in ("attn_out", "mlp_out"):
        several = prefilled(pair, three(pair), [RowPatch(site, (0, 2), BASE, TUNED)])
        assert apart(several[BASE], prefilled(pair, three(pair), [RowPatch(site, (2,), BASE, TUNED)])[BASE]) > 0.1


@ROUTES
def test_a_patch_touches_its_recipient_and_no_other_row(pair: Pair, run: Run) -> None:
    alone = run(pair, three(pair))
    for site in SITES:
        found = run(pair, three(pair), [RowPatch(site, (1, 2), BASE, TUNED)])
        assert torch.equal(found[[BYSTANDER, TUNED]], alone[[BYSTANDER, TUNED]])
        assert apart(found[BASE], alone[BASE]) > 0.1


def test_several_patches_in_one_pass_are_those_patches_one_by_one(pair: Pair) -> None:
    gates = Gates.stack([pair.base_gates(2), three(pair)])
    patches = [
        RowPatch("attn_out", (0, 3), 0, 4),
        RowPatch("resid_mid", (2,), 1, 4),
        RowPatch("mlp_out", (1,), 3, 2),
    ]
    together = prefilled(pair, gates, patches)
    for patch in patches:
        alone = prefilled(pair, gates, [patch])[patch.recipient]
        assert torch.equal(together[patch.recipient], alone)


def test_two_patches_of_one_row_add_up(pair: Pair) -> None:
    """Layer 0 is tuned from end to end once both of its parts come from tuned."""
    parts = [RowPatch("attn_out", (0,), BASE, TUNED), RowPatch("mlp_out", (0,), BASE, TUNED)]
    found = prefilled(pair, three(pair), parts)[BASE]
    assert apart(found, prefilled(pair, Gates.graft(pair.n_layers, [0]))[0]) <= TOLERANCE


def test_rows_can_trade_places(pair: Pair) -> None:
    """Each donor is read before any recipient is written."""
    swap = [RowPatch("resid_post", (1,), BASE, TUNED), RowPatch("resid_post", (1,), TUNED, BASE)]
    for patches in (swap, swap[::-1]):
        found = prefilled(pair, three(pair), patches)
        assert apart(found[BASE], prefilled(pair, Gates.graft(pair.n_layers, [0, 1]))[0]) <= TOLERANCE
        assert apart(found[TUNED], prefilled(pair, Gates.graft(pair.n_layers, [2, 3]))[0]) <= TOLERANCE


def test_left_padding_changes_no_patch(pair: Pair) -> None:
    pad = 3
    ids = pair.ids([[0] * pad + IDS] * 3)
    mask = torch.ones_like(ids)
    mask[:, :pad] = 0
    for site in SITES:
        patches = [RowPatch(site, (1,), BASE, TUNED)]
        with torch.no_grad():
            padded = pair.unembed(pair.hidden(ids, three(pair), attention_mask=mask, patches=patches))[BASE, pad:]
        assert apart(padded, prefilled(pair, three(pair), patches)[BASE]) <= TOLERANCE


def test_patches_leave_the_models_as_they_were(pair: Pair) -> None:
    before = [run(pair, three(pair)) for run in (prefilled, decoded)]
    patched = prefilled(pair, three(pair), [RowPatch("resid_mid", (1,), BASE, TUNED)])
    assert not torch.equal(patched, before[0])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in pair.model.modules())
    for run, expected in zip((prefilled, decoded), before, strict=True):
        assert torch.equal(run(pair, three(pair)), expected)


def test_the_patched_tree_is_made_of_the_same_parameters(pair: Pair) -> None:
    decoder = pair.model.model
    patched = with_patches(decoder, [RowPatch("attn_out", (1,), BASE, TUNED)])
    own, theirs = dict(decoder.named_parameters()), dict(patched.named_parameters())
    assert list(own) == list(theirs)
    assert all(theirs[name] is parameter for name, parameter in own.items())
    others = [n for n, layer in enumerate(decoder.layers) if patched.layers[n] is not layer]
    assert others == [1]
    assert with_patches(decoder, []) is decoder


def test_patches_work_in_a_random_twin(pair: Pair) -> None:
    twin = random_adapter(pair, seed=3)
    for layer in range(pair.n_layers):
        found = prefilled(twin, three(twin), [RowPatch("resid_post", (layer,), BASE, TUNED)])[BASE]
        assert apart(found, prefilled(twin, Gates.graft(pair.n_layers, range(layer + 1)))[0]) <= TOLERANCE


def test_interleaved_generators_do_not_see_each_others_patches(pair: Pair) -> None:
    patches = [RowPatch("resid_mid", (1,), BASE, TUNED)]
    others = [RowPatch("attn_out", (0, 2), BASE, TUNED)]
    runs = [steps(pair, three(pair), chosen) for chosen in (patches, (), others)]
    together = list(zip(*runs, strict=True))
    for number, chosen in enumerate((patches, (), others)):
        found = torch.cat([step[number] for step in together], dim=1)
        assert torch.equal(found, decoded(pair, three(pair), chosen))


def test_threads_do_not_disturb_each_other(pair: Pair) -> None:
    plans: list[list[RowPatch]] = [[], [RowPatch("resid_mid", (1,), BASE, TUNED)]]
    alone = [prefilled(pair, three(pair), patches) for patches in plans]
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(25):
            if apart(prefilled(pair, three(pair), plans[number]), alone[number]) > TOLERANCE:
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(plans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nothing_stays_bound_when_a_pass_fails(pair: Pair) -> None:
    with pytest.raises(IndexError):
        pair.hidden(pair.ids([[10**6]] * 3), three(pair), patches=[RowPatch("mlp_out", (0,), BASE, TUNED)])
    blocks = Blocks(pair, IDS)
    states = blocks.start().repeat(3, 1, 1)
    with torch.no_grad():
        for layer in range(pair.n_layers):
            states = blocks.layer(layer, states, three(pair))
        found = pair.unembed(blocks.finish(states))
    assert apart(found, prefilled(pair, three(pair))) <= TOLERANCE


def test_gradients_go_through_the_donor(pair: Pair) -> None:
    """Against a central difference along one gate of the donor, read in the recipient."""
    patches = [RowPatch("resid_mid", (2,), BASE, TUNED)]
    values = three(pair).values
    values[TUNED] = 0.5
    learnt = values.clone().requires_grad_()
    pair.unembed(pair.hidden(pair.ids([IDS] * 3), Gates(learnt), patches=patches))[BASE, -1, 3].backward()
    assert learnt.grad is not None
    step, ends = 1e-2, []
    for sign in (1, -1):
        moved = values.clone()
        moved[TUNED, 1, 5] += sign * step
        ends.append(prefilled(pair, Gates(moved), patches)[BASE, -1, 3])
    difference = float(ends[0] - ends[1]) / (2 * step)
    assert abs(difference) > 0.01
    assert float(learnt.grad[TUNED, 1, 5]) == pytest.approx(difference, rel=2e-2, abs=1e-3)


MODELS = [
    (LlamaModel, LlamaConfig),
    (Qwen2Model, Qwen2Config),
    (Qwen3Model, Qwen3Config),
    (MistralModel, MistralConfig),
]


@pytest.mark.parametrize(("model_class", "config_class"), MODELS, ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_every_known_architecture_copies_bit_by_bit(model_class: Any, config_class: Any) -> None:
    """In bfloat16, where arithmetic on the copy would show; the rows differ by their tokens."""
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = config_class(**shape, head_dim=8, vocab_size=50, num_hidden_layers=2, pad_token_id=0)
    model = model_class(config).eval().to(torch.bfloat16)
    ids = torch.tensor([[4, 9, 30, 7], [11, 2, 45, 23]])

    def run(decoder: Any) -> dict[str, Tensor]:
        """What is there at every site of the first layer, once patched."""
        seen: dict[str, Tensor] = {}
        layer = decoder.layers[0]
        hooks = [
            layer.register_forward_pre_hook(lambda _, given: seen.update(resid_pre=given[0])),
            layer.self_attn.register_forward_hook(lambda _, __, output: seen.update(attn_out=output[0])),
            layer.post_attention_layernorm.register_forward_pre_hook(lambda _, given: seen.update(resid_mid=given[0])),
            layer.mlp.register_forward_hook(lambda _, __, output: seen.update(mlp_out=output)),
            layer.register_forward_hook(lambda _, __, output: seen.update(resid_post=output)),
        ]
        decoder(input_ids=ids, use_cache=False)
        for hook in hooks:
            hook.remove()
        return seen

    unpatched = run(model)
    for site in SITES:
        seen = run(with_patches(model, [RowPatch(site, (0,), 0, 1)]))
        assert not torch.equal(unpatched[site][0], unpatched[site][1])
        assert torch.equal(seen[site][0], unpatched[site][1])
        assert all(torch.equal(seen[name][1], unpatched[name][1]) for name in SITES)
        if site != "resid_post":  # the stream carries on from what was put in
            assert torch.equal(seen["resid_post"][0], seen["resid_mid"][0] + seen["mlp_out"][0])


@pytest.mark.parametrize(
    ("patches", "error", "says"),
    [
        ([RowPatch("resid", (0,), 0, 1)], ArgumentError, "no site 'resid'"),
        ([RowPatch("attn_out", (1, 4), 0, 1)], ArgumentError, "Layer 4 does not exist"),
        ([RowPatch("attn_out", (-1,), 0, 1)], ArgumentError, "Layer -1 does not exist"),
        ([RowPatch("attn_out", (0,), 3, 1)], ShapeError, "names row 3.*rows 0 to 2"),
        ([RowPatch("attn_out", (0,), 0, 3)], ShapeError, "names row 3"),
        ([RowPatch("attn_out", (0,), -1, 1)], ShapeError, "names row -1"),
        ([RowPatch("attn_out", (0,), 1, 1)], ShapeError, "row 1 into itself"),
        (
            [RowPatch("mlp_out", (0, 1), 0, 1), RowPatch("mlp_out", (1,), 0, 2)],
            ArgumentError,
            "Row 0 would get mlp_out of layer 1 from row 1 and row 2",
        ),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(
    pair: Pair, patches: list[RowPatch], error: type[GraftError], says: str
) -> None:
    before = pair.forwards
    with pytest.raises(error, match=says):
        pair.hidden(pair.ids([IDS] * 3), three(pair), patches=patches)
    assert pair.forwards == before
