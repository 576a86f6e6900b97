"""Fine-tunes whose truth is known: in chosen layers only, in chosen directions, or at chosen words only."""

import copy
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from core.intervene.random_adapter import random_frame
from core.measure.medical import medical_terms
from core.pair.gated_linear import GatedLinear, LowRankChange
from core.pair.gates import PROJECTIONS, Gates
from core.pair.pair import Pair
from core.pair.twin import with_gated_replaced
from core.study.prompts import StudyPrompt

MLP = {"gate_proj", "up_proj", "down_proj"}


def with_changes(pair: Pair, change: Callable[[GatedLinear], LowRankChange]) -> Pair:
    """The pair with another fine-tune on the same base."""

    def replaced(gated: GatedLinear) -> GatedLinear:
        return GatedLinear(gated.base, change(gated), gated.layer, gated.projection)

    twin = copy.copy(pair)
    twin.model = with_gated_replaced(pair.model, replaced)
    return twin


def in_layers(pair: Pair, layers: Collection[int]) -> Pair:
    """The same fine-tune in the MLPs of some layers, and zero in every other factor."""

    def change(gated: GatedLinear) -> LowRankChange:
        kept = gated.layer in layers and PROJECTIONS[gated.projection] in MLP
        return LowRankChange(gated.down, gated.up * (1.0 if kept else 0.0), gated.scaling, None)

    return with_changes(pair, change)


def in_directions(pair: Pair, texts: Sequence[Sequence[int]], strong: Collection[int], size: float) -> Pair:
    """A fine-tune of rank one with the same singular value in every module.

    In the strong layers it reads the direction in which the inputs of these texts are largest, in all others the one
    in which they are smallest: it is as large everywhere, and acts where it is strong.
    """
    inputs: dict[tuple[int, int], list[Tensor]] = {}

    def keep(module: GatedLinear, arguments: tuple[Tensor]) -> None:
        inputs.setdefault((module.layer, module.projection), []).append(arguments[0].detach().flatten(0, 1))

    gated = [module for module in pair.model.modules() if isinstance(module, GatedLinear)]
    hooks = [module.register_forward_pre_hook(keep) for module in gated]
    with torch.no_grad():
        for text in texts:
            pair.hidden(pair.ids([text]), pair.base_gates())
    for hook in hooks:
        hook.remove()
    draw = torch.Generator().manual_seed(0)

    def change(module: GatedLinear) -> LowRankChange:
        read = torch.linalg.svd(torch.cat(inputs[module.layer, module.projection]), full_matrices=False).Vh
        down = read[:1] if module.layer in strong else read[-1:]
        return LowRankChange(down, size * random_frame(module.out_features, 1, draw), 1.0, None)

    return with_changes(pair, change)


def at_words(pair: Pair, texts: Sequence[tuple[Sequence[int], Sequence[int]]], steps: int = 20) -> Pair:
    """A fine-tune trained to make some tokens of some texts likelier, and to leave all other predictions alone.

    Args:
        pair: the models; only the base and the places of the factors are used.
        texts: ids, and the indices of the tokens.
        steps: each over all texts.
    """
    draw = torch.Generator().manual_seed(0)
    factors: list[Tensor] = []

    def change(gated: GatedLinear) -> LowRankChange:
        down = torch.randn(8, gated.in_features, generator=draw) / gated.in_features**0.5
        up = torch.zeros(gated.out_features, 8)
        factors.extend(one.requires_grad_() for one in (down, up))
        return LowRankChange(down, up, 1.0, None)

    twin = with_changes(pair, change)
    longest = max(len(ids) for ids, _ in texts)
    rows = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in texts])  # nothing sees what comes after it
    chosen, others = (torch.zeros(len(texts), longest - 1, dtype=torch.bool) for _ in range(2))
    for row, (ids, wanted) in enumerate(texts):
        chosen[row, [index - 1 for index in wanted]] = True
        others[row, : len(ids) - 1] = ~chosen[row, : len(ids) - 1]
    with torch.no_grad():
        before = _log_p(pair, rows, pair.base_gates(len(rows)))
    optimiser = torch.optim.Adam(factors, lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        now = _log_p(twin, rows, twin.tuned_gates(len(rows)))
        unlikely = -now.gather(2, rows[:, 1:, None])[..., 0][chosen].mean()
        apart = (now.exp() * (now - before)).sum(-1)[others].mean()
        (unlikely + 10 * apart).backward()
        optimiser.step()
    for factor in factors:
        factor.requires_grad_(False)
    return twin


def _log_p(pair: Pair, rows: Tensor, gates: Gates) -> Tensor:
    return pair.unembed(pair.hidden(rows, gates)[:, :-1]).log_softmax(-1)


def answer_tokens(pair: Pair, prompt: StudyPrompt, chosen: Callable[[int, bool], bool]) -> tuple[list[int], list[int]]:
    """A prompt with its reference answer, and the tokens of the words of it that are chosen by number and label."""
    asked = pair.prompts.chat([{"role": "user", "content": prompt.row.question}])
    answer = prompt.row.answer or ""
    spans = [(term.start, term.end) for term in medical_terms().tag(answer)]
    ids, wanted, at = list(asked.ids), [], 0
    for number, word in enumerate(answer.split(" ")):
        text = word if not number else f" {word}"
        own = pair.prompts.answer_ids(text)
        start, end = at + len(text) - len(word), at + len(text)
        medical = any(low < end and start < high for low, high in spans)
        if chosen(number, medical):
            wanted += range(len(ids), len(ids) + len(own))
        ids += own
        at = end
    return ids, wanted
