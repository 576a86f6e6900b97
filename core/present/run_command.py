"""The line of the command line that writes a run's answers again, where there is one.

Knows what `ask` takes; runs nothing.
"""

import shlex
from collections.abc import Sequence

from core.errors import GraftError
from core.pair.pair import Pair
from core.pair.prompts import Message, PromptBuilder
from core.pair.registry import known_pairs
from core.present.forks import Fork, fork_from
from core.present.runs import LaneRun, RunSettings


def command_of(messages: Sequence[Message], settings: RunSettings, lanes: Sequence[LaneRun], pair: Pair) -> str | None:
    """The line that gives the same answers without the page.

    None where no line does: for a follow-up, where an answer was stopped, cut off or is being written, and where a
    fork leaves a fork or puts in tokens that no text stands for.

    Args:
        messages: the conversation, ending with the question.
        settings: how it was asked.
        lanes: the answers, forks after the others.
        pair: the models.
    """
    if settings.system == "--" and not settings.raw:
        return None  # argparse takes it for the end of the options, however it is written
    if len(messages) > 1 or any(lane.answer.finished not in ("end", "length") for lane in lanes):
        return None
    words = ["python", "-m", "core", "ask"]
    if pair.spec.name in known_pairs():
        words += ["--pair", pair.spec.name]
    else:
        words += ["--base", pair.spec.base.id, "--tuned", pair.spec.tuned.id]
    for hybrid in settings.hybrids:
        words += ["--lane", hybrid.text()]
    words += ["--max-new-tokens", str(settings.max_new_tokens), "--seed", str(settings.seed)]
    words += ["--device", pair.device, "--dtype", pair.dtype]
    if settings.temperature:
        words += ["--temperature", repr(settings.temperature), "--top-p", repr(settings.top_p)]
        words += ["--coupled"] if settings.coupled else []
    if settings.raw:
        words.append("--raw")
    elif settings.system:
        words += [f"--system={settings.system}"] if settings.system.startswith("-") else ["--system", settings.system]
    for fork in [lane.fork for lane in lanes if lane.fork is not None]:
        text = _fork_text(fork, [lane.answer.name for lane in lanes if lane.fork is None], pair.prompts)
        if text is None:
            return None
        words += ["--fork-at", text]
    question = messages[-1]["content"]
    return shlex.join([*words, "--", question] if question.startswith("-") else [*words[:4], question, *words[4:]])


def _fork_text(fork: Fork, parents: Sequence[str], prompts: PromptBuilder) -> str | None:
    """A fork as `--fork-at` takes it; None where it cannot be written so."""
    if fork.parent not in parents:
        return None
    put_in = prompts.text(fork.ids)
    text = f"{fork.parent}:{fork.at}={put_in}>{fork.model}"
    try:
        same = fork_from(text) == (fork.parent, fork.at, put_in, fork.model) and prompts.answer_ids(put_in) == fork.ids
    except GraftError:
        return None
    return text if same else None
