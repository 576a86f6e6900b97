"""How much memory the keys and values of answers may take, so that rows wait rather than fail.

Knows the model's shape and the device; knows no requests beyond their size.
"""

from collections.abc import Sequence

import torch

from core.errors import ArgumentError, TooLongError
from core.generate.writing import Job
from core.pair.pair import Pair

MAX_NEW_TOKENS = 2048
MAX_LANES = 48
CPU_BYTES = 4 * 2**30
CUDA_SHARE = 0.6
_SPARE = 2  # buffers grow by doubling


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
        self._row_bytes: int = 2 * pair.n_layers * config.num_key_value_heads * head * item
        self._longest = pair.max_positions
        device = torch.device(pair.device)
        if n_bytes is not None:
            self.n_bytes = n_bytes
        elif device.type == "cuda":
            self.n_bytes = int(torch.cuda.mem_get_info(device)[0] * CUDA_SHARE)
        else:
            self.n_bytes = CPU_BYTES

    def n_bytes_for(self, jobs: Sequence[Job]) -> int:
        """What all of these may take together, each as long as it may get.

        Every row is as long as the longest of all; and each prompt is kept besides, to be read on from once more.
        """
        longest = max((min(job.n_positions, self._longest) for job in jobs), default=0)
        positions = sum(job.n_rows for job in jobs) * longest
        positions += sum(job.n_prompt_rows * (len(job.prompt.ids) + len(job.begun)) for job in jobs)
        return positions * self._row_bytes * _SPARE

    def holds(self, jobs: Sequence[Job]) -> bool:
        """Whether all of these fit together."""
        return sum(len(job.lanes) for job in jobs) <= MAX_LANES and self.n_bytes_for(jobs) <= self.n_bytes

    def check(self, job: Job) -> None:
        """Refuses what does not fit with nothing beside it.

        Raises:
            ArgumentError: too many tokens or lanes, or none.
            TooLongError: its keys and values take more memory than there is.
        """
        if not 1 <= job.max_new_tokens <= MAX_NEW_TOKENS:
            raise ArgumentError(f"{job.max_new_tokens} new tokens were asked for.", f"Ask for 1 to {MAX_NEW_TOKENS}.")
        if not 1 <= len(job.lanes) <= MAX_LANES:
            raise ArgumentError(f"{len(job.lanes) or 'No'} lanes were asked for.", f"Ask for 1 to {MAX_LANES}.")
        if (wanted := self.n_bytes_for([job])) > self.n_bytes:
            n_prompt, n_lanes = len(job.prompt.ids), len(job.lanes)
            raise TooLongError(
                f"{n_prompt:,} tokens of prompt and up to {job.max_new_tokens:,} new ones in {n_lanes} "
                f"{'lane' if n_lanes == 1 else 'lanes'} may take {_mebibytes(wanted)} of memory; "
                f"there are {_mebibytes(self.n_bytes)} for answers.",
                "Shorten the question, or ask for fewer tokens or lanes.",
            )


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
