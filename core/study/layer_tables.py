"""The layers of one text as rows: grafted alone, left out, from below, from above, side by side; by part; in random
adapters; Shapley shares; what gradients say of them and of the text's positions.

Knows sweeps and plans; knows nothing of the other prompts.
"""

from collections.abc import Sequence

from core.errors import DeviceMemoryError
from core.intervene.integrated import Integrated, integrate_k, slope_of_k
from core.intervene.plans import EACH, Plan, sweep_plans
from core.intervene.random_adapter import random_adapter
from core.intervene.recovery import PlanResult, Sweep, sweep
from core.intervene.set_function import Progress, SetFunction, part_of
from core.intervene.sets import units_of
from core.intervene.shapley import draw_permutations, shapley_shares
from core.measure.noise import noise_of
from core.pair.gates import PROJECTIONS, parse_layers
from core.pair.pair import Pair
from core.pair.prompts import Prompt
from core.study.frames import TIMES_NOISE
from core.study.schema import Row, Tables

KINDS = {"single": "single", "leave-one-out": "without", "prefix": "prefix"}
"""Kind of sweep → what the table calls it."""
WINDOWS = {3: "window-3", 5: "window-5"}
"""Layers in a window → what the table calls it."""


def sweep_tables(pair: Pair, ids: Sequence[int], predicted: Sequence[int], progress: Progress | None = None) -> Tables:
    """Rows of `layers` and `parts` for the fine-tune itself, but for their keys. All plans share one walk.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count.
        progress: told the share done, 0..1; may raise to stop.
    """
    kinds: list[tuple[str, str]] = [(kind, "both") for kind in (*KINDS, "suffix")] + [
        (kind, part) for kind in ("single", "leave-one-out") for part in EACH
    ]
    named = [(kind, plan) for kind, part in kinds for plan in sweep_plans(kind, pair.n_layers, part)]
    for width, kind in WINDOWS.items():
        if width <= pair.n_layers:
            named += [(kind, plan) for plan in sweep_plans("window", pair.n_layers, width=width)]
    found = sweep(pair, ids, predicted, [plan for _, plan in named], progress)
    tables: Tables = {"layers": [], "parts": []}
    for (kind, plan), result in zip(named, found.results, strict=True):
        row = {"kind": KINDS.get(kind, kind), "layer": _layer(kind, plan, pair.n_layers), **_figures(result, found)}
        if plan.part == "both":
            tables["layers"].append({"adapter": 0, **row})
        else:
            tables["parts"].append({"part": plan.part, **row})
    return tables


def control_rows(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    n: int,
    seed: int,
    kinds: Sequence[str],
    progress: Progress | None = None,
) -> list[Row]:
    """Rows of `layers` for random adapters, numbered from 1; each is held against its own K(∅).

    Args:
        pair, ids, predicted: as for `sweep_tables`.
        n: how many.
        seed: of the first; the following ones count up, so that every prompt meets the same adapters.
        kinds: which curves, by the table's names.
        progress: as for `sweep_tables`.
    """
    rows: list[Row] = []
    wanted = [kind for kind, name in KINDS.items() if name in kinds]
    for number in range(n):
        twin = random_adapter(pair, seed + number)
        named = [(kind, plan) for kind in wanted for plan in sweep_plans(kind, pair.n_layers)]
        tell = part_of(progress, number, 1, n)
        found = sweep(twin, ids, predicted, [plan for _, plan in named], tell)
        rows += [
            {"adapter": number + 1, "kind": KINDS[kind], "layer": _layer(kind, plan, pair.n_layers)}
            | _figures(result, found)
            for (kind, plan), result in zip(named, found.results, strict=True)
        ]
    return rows


def shapley_rows(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    permutations: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Row]:
    """Rows of `shapley`, but for their keys; none where there is no difference to share out.

    Args:
        pair, ids, predicted: as for `sweep_tables`.
        permutations: how many orders.
        seed: of the orders; give every prompt its own, so that the mean over prompts is over more orders.
        progress: as for `sweep_tables`.
    """
    function = SetFunction(pair, ids, predicted)
    if not function.defined or not permutations:
        return []
    units = units_of(pair.n_layers, "part")
    shares = shapley_shares(function, units, draw_permutations(len(units), permutations, seed), progress)
    return [
        {"layer": s.layer, "part": s.part, "share": s.share, "se": s.se, "permutations": permutations} for s in shares
    ]


def attribution_tables(
    pair: Pair, asked: Prompt, text: Sequence[int], predicted: Sequence[int], progress: Progress | None = None
) -> Tables:
    """Rows of `attribution` and `positions`, but for their keys; none where there is no difference to attribute, or no
    memory for gradients.

    Args:
        pair, predicted, progress: as for `sweep_tables`.
        asked: the question.
        text: the answer to it.
    """
    ids = (*asked.ids, *text)
    try:
        slopes = slope_of_k(pair, ids, predicted).sum(dim=-1)
        found = integrate_k(pair, ids, predicted, progress=progress)
    except DeviceMemoryError:  # gradients keep every state of a pass; all else of the prompt is measured without them
        return {}
    if found.k_recipient <= TIMES_NOISE * noise_of(pair).kl:
        return {}
    shares = -found.values.sum(dim=-1) / found.k_recipient
    n = len(predicted)
    projections: list[Row] = [
        {
            "layer": layer,
            "projection": name,
            "tokens": n,
            "slope": float(slopes[layer, column]),
            "attribution": float(shares[layer, column]),
            "completeness_error": found.completeness_error,
            "kl_base_sum": found.k_recipient * n,
        }
        for layer in range(pair.n_layers)
        for column, name in enumerate(PROJECTIONS)
    ]
    return {"attribution": projections, "positions": _position_rows(pair, asked, text, found)}


def _position_rows(pair: Pair, asked: Prompt, text: Sequence[int], found: Integrated) -> list[Row]:
    """What the gates at each position account for, as recovery, of all layers together."""
    ids, parts = (*asked.ids, *text), (*asked.parts, *pair.prompts.answer_parts(text, asked).parts)
    shares = (-found.by_part().sum(dim=0) / found.k_recipient).T.tolist()
    there = slice(len(shares))
    return [
        {"position": position, "id": token, "text": piece.text, "part": part, "attn": attn, "mlp": mlp}
        for position, (token, piece, part, (attn, mlp)) in enumerate(
            zip(ids[there], pair.prompts.pieces(ids[there]), parts[there], shares, strict=True)
        )
    ]


def _layer(kind: str, plan: Plan, n_layers: int) -> int:
    """The layer a plan is about: the one grafted or left out, the topmost of a prefix, the lowest of any other set."""
    layers = parse_layers(plan.layers, n_layers)
    if kind == "leave-one-out":
        return (set(range(n_layers)) - set(layers)).pop()
    return layers[-1] if kind == "prefix" else layers[0]


def _figures(result: PlanResult, found: Sweep) -> Row:
    n = len(found.kl_base)
    return {
        "tokens": n,
        "kl_sum": result.k * n,
        "kl_base_sum": found.k_base * n,
        "recovery": result.recovery,
        "recovery_noise": result.recovery_noise,
        "logit_difference_recovery": result.logit_difference_recovery,
        "logp_recovery": result.logp_recovery,
    }
