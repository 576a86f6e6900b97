"""How much memory the keys and values of answers may take, so that rows wait rather than fail.

Knows the model's shape and the device; knows no requests beyond their size.
"""

from collections.abc import Sequence

import torch

from core.generate.writing import Job
from core.pair.pair import Pair

CPU_BYTES = 4 * 2**30
CUDA_SHARE = 0.6
_SPARE = 1.5  # buffers grow by doubling


class Room:
    """Memory for keys and values beside the weights.

    Args:
        pair: the models.
        n_bytes: the bound; by default 4 GiB on a CPU, and on a CUDA device 60 % of what is free now.
    """

    def __init__(self, pair: Pair, n_bytes: int | None = None) -> None:
        config = pair.model.config
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        item = pair.unembed.item_bytes
        self._row_bytes = 2 * pair.n_layers * config.num_key_value_heads * head * item
        self._longest = pair.max_positions
        device = torch.device(pair.device)
        if n_bytes is not None:
            self.n_bytes = n_bytes
        elif device.type == "cuda":
            self.n_bytes = int(torch.cuda.mem_get_info(device)[0] * CUDA_SHARE)
        else:
            self.n_bytes = CPU_BYTES

    def holds(self, jobs: Sequence[Job]) -> bool:
        """Whether all of these fit together, each as long as it may get."""
        wanted = sum(
            job.n_rows * min(job.n_positions, self._longest) + job.n_prompt_rows * len(job.prompt.ids) for job in jobs
        )
        return bool(wanted * self._row_bytes * _SPARE <= self.n_bytes)
