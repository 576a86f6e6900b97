"""Base and tuned reading along: rows that follow what lanes write, a few tokens at a time.

Knows a prompt's cache and tokens; knows no scores.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.generate.cache import RowCache
from core.pair.gates import Gates
from core.pair.pair import Pair


class Followers:
    """Rows of base and tuned, for every lane that is not that model itself.

    Args:
        pair: the models.
        is_base, is_tuned: of each lane.
    """

    def __init__(self, pair: Pair, is_base: Sequence[bool], is_tuned: Sequence[bool]) -> None:
        self._pair = pair
        self._rows = [(lane, "base") for lane, here in enumerate(is_base) if not here]
        self._rows += [(lane, "tuned") for lane, here in enumerate(is_tuned) if not here]
        self._cache: RowCache | None = None
        self._first: dict[str, Tensor] = {}
        self._n_begun = 0

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return len(self._rows)

    def start(self, cache: RowCache, base: Tensor, tuned: Tensor, n_begun: int) -> None:
        """Takes over what has been read: prompt, and the tokens every lane begins with.

        Args:
            cache: its last two rows are base and tuned; copied.
            base, tuned: (1 + n_begun, d_model), their states from the last token of the prompt on.
            n_begun: how many tokens every lane begins with.
        """
        n_rows = cache.layers[0].keys.shape[0]
        source = {"base": n_rows - 2, "tuned": n_rows - 1}
        self._cache = cache.copy([source[model] for _, model in self._rows])
        self._first, self._n_begun = {"base": base, "tuned": tuned}, n_begun

    def follow(self, tokens: Mapping[int, Sequence[int]], start: int, stop: int) -> dict[tuple[int, str], Tensor]:
        """States that predict tokens `start` to `stop` of each lane's answer, (n, d_model) by lane and model.

        Token t is predicted after token t − 1 has been read; the first ones come from the prompt.

        Args:
            tokens: lane → all its tokens; every lane that still has followers.
            start, stop: each call goes on where the last one stopped.
        """
        from_prompt, self._first = self._first, {}
        fed = slice(max(start - 1, self._n_begun), stop - 1)
        read = None
        if fed.start < fed.stop and self._rows:
            values = [0.0 if model == "base" else 1.0 for _, model in self._rows]
            gates = Gates.stack([Gates.uniform(self._pair.n_layers, v) for v in values])
            ids = self._pair.ids([tokens[lane][fed] for lane, _ in self._rows])
            read = self._pair.hidden(ids, gates, cache=self._cache)
        states: dict[tuple[int, str], Tensor] = {}
        for row, (lane, model) in enumerate(self._rows):
            found = [from_prompt[model]] if from_prompt else []
            states[lane, model] = torch.cat(found + ([read[row]] if read is not None else []))
        return states

    def drop(self, lanes: set[int]) -> None:
        """Lets the followers of finished lanes go."""
        kept = [row for row, (lane, _) in enumerate(self._rows) if lane not in lanes]
        if len(kept) < len(self._rows):
            self._rows = [self._rows[row] for row in kept]
            if kept and self._cache is not None:
                self._cache.keep(kept)
            if not kept:
                self._cache = None

    def release(self) -> None:
        """Frees the cache."""
        self._cache = None
