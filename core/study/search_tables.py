"""Smallest sets of layers of one text, and its patches at single positions, as rows.

Knows searches and patch grids; knows nothing of the other prompts.
"""

from collections.abc import Sequence

from core.intervene.controls import random_sets
from core.intervene.grid import grid
from core.intervene.set_function import Progress, SetFunction, part_of
from core.intervene.sets import set_name, units_of
from core.intervene.smallest import Step, greedy_backward, greedy_forward, smallest_reaching
from core.pair.pair import Pair
from core.pair.prompts import Prompt
from core.study.schema import Row
from core.study.settings import REACHES

SITE = "resid_post"


def smallest_rows(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    n_random: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Row]:
    """Rows of `smallest`, but for their keys; none where there is no difference to bring back.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count.
        n_random: how many random sets stand beside each set found.
        seed: of these.
        progress: told the share done, 0..1; may raise to stop.
    """
    function = SetFunction(pair, ids, predicted)
    if not function.defined:
        return []
    units, n = units_of(pair.n_layers, "layer"), len(predicted)
    from_below, from_above = part_of(progress, 0.0, 0.5, 1.0), part_of(progress, 0.5, 0.4, 1.0)
    steps: dict[str, tuple[Step, ...]] = {
        "greedy-forward": greedy_forward(function, units, max(REACHES), len(units), from_below, _kept),
        "greedy-backward": greedy_backward(function, units, min(REACHES), from_above, _kept),
    }
    rows: list[Row] = []
    for method, taken in steps.items():
        for reach in REACHES:
            found = smallest_reaching(taken, reach)
            if found is None:
                continue
            tell = part_of(progress, 0.9 + 0.1 * len(rows) / (2 * len(REACHES)), 0.1 / (2 * len(REACHES)), 1.0)
            beside = random_sets(function, units, found.size, n_random, seed, tell)
            rows.append(
                {
                    "method": method,
                    "reach": reach,
                    "size": found.size,
                    "units": set_name(found.units, pair.n_layers),
                    "tokens": n,
                    "kl_sum": (1 - found.recovery) * function.k_base * n,
                    "kl_base_sum": function.k_base * n,
                    "recovery": found.recovery,
                    "recovery_noise": function.noise(found.recovery),
                    "random_mean": beside.mean,
                    "random_sd": beside.sd,
                    "random_sets": beside.n,
                }
            )
    return rows


def patch_rows(
    pair: Pair, asked: Prompt, text: Sequence[int], predicted: Sequence[int], progress: Progress | None = None
) -> list[Row]:
    """Rows of `patches`, but for their keys; none where there is no difference to bring back.

    Args:
        pair, predicted, progress: as for `smallest_rows`.
        asked: the question.
        text: the answer to it.
    """
    parts = (*asked.parts, *pair.prompts.answer_parts(text, asked).parts)
    ids, n = (*asked.ids, *text), len(predicted)
    if not SetFunction(pair, ids, predicted).defined:
        return []
    found = grid(pair, ids, predicted, SITE, range(pair.n_layers), range(max(predicted)), progress=progress)
    return [
        {
            "layer": cell.layer,
            "position": cell.pos,
            "part": parts[cell.pos],
            "tokens": n,
            "kl_sum": None if cell.k is None else cell.k * n,
            "kl_base_sum": found.k_base * n,
            "recovery": cell.kl_recovery,
            "logit_difference_recovery": cell.logit_difference_recovery,
        }
        for cell in found.cells
    ]


def _kept(steps: tuple[Step, ...]) -> None:
    """Steps under way, which nobody looks at here."""
