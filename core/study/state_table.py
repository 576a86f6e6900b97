"""Where the states of both models stand after every layer of one text: how far apart, and on average where.

Knows layers and one text; compares no texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.measure.drift import drift_cosine, drift_norm
from core.pair.blocks import Blocks, unwalkable
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.study.schema import Row


@torch.no_grad()
def state_rows(pair: Pair, ids: Sequence[int], predicted: Sequence[int]) -> tuple[list[Row], Tensor | None]:
    """Drift after every layer, and the mean states.

    States are those that predict the tokens asked for, which stand at the tokens before; position 0, on which models
    park attention, is left out.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count.

    Returns:
        Rows of `representations` but for their key, and mean states, (n_layers, 2, d_model) float32 on the CPU, base
        first. No rows and None where there are no such positions, or where the layers of this architecture cannot be
        run one at a time.
    """
    where = [index - 1 for index in predicted if index > 1]
    if not where or unwalkable(pair, len(ids)):
        return [], None
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    blocks = Blocks(pair, ids)
    states = blocks.start().expand(2, -1, -1)
    rows: list[Row] = []
    means: list[Tensor] = []
    for layer in range(pair.n_layers):
        states = blocks.layer(layer, states, both)
        base, tuned = states[:, where].double()
        rows.append(
            {
                "layer": layer,
                "tokens": len(where),
                "drift_norm": float(drift_norm(tuned, base).mean()),
                "drift_cosine": float(drift_cosine(tuned, base).mean()),
            }
        )
        means.append(torch.stack([base.mean(dim=0), tuned.mean(dim=0)]).float().cpu())
    return rows, torch.stack(means)
