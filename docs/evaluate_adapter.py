"""Recomputes the figures of an adapter's card from the adapter and held-out files.

    python docs/evaluate_adapter.py --files DIR [--adapter DIR] [--out figures.json] [--answers answers.md]

DIR holds `eval/`, `control/` and `train/` as the card names them. Everything is computed in float32 with plain
transformers and peft; intervals are 95 % percentile bootstraps over documents.
"""

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # before torch: large pages, see the README

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.measure.answers import repetition  # noqa: E402
from core.pair.fetch import local_folder  # noqa: E402
from core.pair.files import sha256_of  # noqa: E402
from core.pair.load import end_of_turn_ids, load_base  # noqa: E402
from core.pair.prompts import Message, PromptBuilder  # noqa: E402
from core.pair.registry import pair_spec  # noqa: E402
from core.train.choice import parse_choice  # noqa: E402
from core.train.encode import encode  # noqa: E402
from core.train.heldout import DocumentLoss, document_losses  # noqa: E402
from core.train.rows import Row, choose_rows  # noqa: E402

LOSS_FILES = {
    "MedQuAD, test": "eval/medquad_test.jsonl.gz,rows=300",
    "medical-o1 demo rows, test": "eval/huatuo_o1_demo_test.jsonl.gz",
    "CasiMedicos, validation": "train/casimedicos.jsonl.gz,where=split:val",
    "dolly, not used for replay": "control/dolly_general.jsonl.gz,fold=2/3,rows=150",
    "GSM8K": "control/gsm8k.jsonl.gz,rows=150",
}
ASKED = ("eval/medquad_test.jsonl.gz,rows=20", "eval/huatuo_o1_demo_test.jsonl.gz,rows=10")
CHOICES = "eval/mmlu_medical.jsonl.gz,where=split:eval"
NEW_TOKENS = 200
RESAMPLES = 10_000
LETTER_PROMPT = "\n\nAnswer with the letter of the right option only."


class Models:
    """Base and fine-tuned model as one plain PEFT model."""

    def __init__(self, adapter: Path) -> None:
        from peft import PeftModel

        folder = local_folder(pair_spec("demo").base)
        base, self.tokenizer = load_base(folder, "cpu", torch.float32)
        ends = end_of_turn_ids(base, self.tokenizer)
        self.prompts = PromptBuilder(self.tokenizer, ends, base.config.max_position_embeddings)
        self.model: Any = PeftModel.from_pretrained(base, adapter)
        self.model.eval()

    def both(self, compute: Callable[[Any], Any]) -> tuple[Any, Any]:
        """The same computation on base and on the fine-tuned model."""
        with self.model.disable_adapter():
            base = compute(self.model)
        return base, compute(self.model)


def interval(statistic: Callable[[np.ndarray], np.ndarray], n: int, seed: int = 0) -> list[float]:
    """95 % percentile bootstrap; `statistic` takes (resamples, n) indices."""
    drawn = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    low, high = np.percentile(statistic(drawn), [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def loss_figures(models: Models, rows: Sequence[Row]) -> dict[str, Any]:
    """Loss per token without headings, of base and tuned, and the change with its interval over documents."""
    examples = [encode(row, models.prompts) for row in rows]
    pad = models.prompts.end_ids[0]
    base, tuned = models.both(lambda model: document_losses(model, examples, pad))
    counts = np.array([d.n_tokens for d in base])

    def sums(found: Sequence[DocumentLoss]) -> np.ndarray:
        return np.array([d.nats for d in found])

    gained = sums(tuned) - sums(base)
    change = interval(lambda k: gained[k].sum(axis=1) / counts[k].sum(axis=1), len(rows))
    return {
        "documents": len(rows),
        "tokens": int(counts.sum()),
        "base": round(float(sums(base).sum() / counts.sum()), 4),
        "tuned": round(float(sums(tuned).sum() / counts.sum()), 4),
        "change": round(float(gained.sum() / counts.sum()), 4),
        "change_95": change,
        "base_with_headings": round(sum(d.nats_all for d in base) / sum(d.n_all for d in base), 4),
        "tuned_with_headings": round(sum(d.nats_all for d in tuned) / sum(d.n_all for d in tuned), 4),
    }


@torch.no_grad()
def answers(model: Any, models: Models, questions: Sequence[str]) -> list[list[int]]:
    """Greedy answers, left-padded in batches of ten."""
    found = []
    pad, ends = models.prompts.end_ids[0], list(models.prompts.end_ids)
    for start in range(0, len(questions), 10):
        prompts = [models.prompts.chat([Message(role="user", content=q)]).ids for q in questions[start : start + 10]]
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=pad,
            eos_token_id=ends,
        )  # fmt: skip
        for row in out[:, width:].tolist():
            stop = next((k for k, token in enumerate(row) if token in ends), len(row))
            found.append(row[:stop])
    return found


def repetition_figures(models: Models, rows: Sequence[Row], answers_file: Path | None) -> dict[str, Any]:
    """Share of repeated 4-grams in greedy answers to held-out questions."""
    questions = [row.question for row in rows]
    base, tuned = models.both(lambda model: answers(model, models, questions))
    shares = [np.array([repetition(ids) or 0.0 for ids in found]) for found in (base, tuned)]
    change = shares[1] - shares[0]
    if answers_file is not None:
        blocks = [
            f"## {k}. {question}\n\n**base** ({len(b)} tokens)\n\n{models.tokenizer.decode(b)}\n\n**fine-tuned** "
            f"({len(t)} tokens)\n\n{models.tokenizer.decode(t)}\n"
            for k, (question, b, t) in enumerate(zip(questions, base, tuned, strict=True), start=1)
        ]
        answers_file.write_text("\n".join(blocks))
    return {
        "questions": len(questions),
        "new_tokens": NEW_TOKENS,
        "base": round(float(shares[0].mean()), 4),
        "tuned": round(float(shares[1].mean()), 4),
        "change": round(float(change.mean()), 4),
        "change_95": interval(lambda k: change[k].mean(axis=1), len(change)),
        "ended": {"base": _ended(base), "tuned": _ended(tuned)},
    }


def _ended(found: Sequence[Sequence[int]]) -> int:
    return sum(len(ids) < NEW_TOKENS for ids in found)


@torch.no_grad()
def letter_figures(models: Models, path: Path, limit: int | None) -> dict[str, Any]:
    """Accuracy by the log-probability of the option's letter as the first token of the answer."""
    choice = parse_choice(str(path))
    assert choice.where is not None
    field, wanted = choice.where
    with gzip.open(choice.path, "rt") as file:
        lines = [line for line in map(json.loads, file) if line[field] == wanted][:limit]
    letters = {letter: models.tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "ABCDE"}
    prompts, rights, options = [], [], []
    for line in lines:
        given = [letter for letter in "ABCDE" if (line["options"] or {}).get(letter)]
        text = line["question"] + "".join(f"\n{letter}. {line['options'][letter]}" for letter in given)
        prompts.append(models.prompts.chat([Message(role="user", content=text + LETTER_PROMPT)]).ids)
        rights.append(line["answer_idx"])
        options.append(given)

    def chosen(model: Any) -> list[str]:
        found: dict[int, str] = {}
        order = sorted(range(len(prompts)), key=lambda k: len(prompts[k]))
        for start in range(0, len(order), 8):
            batch = order[start : start + 8]
            width = max(len(prompts[k]) for k in batch)
            pad = models.prompts.end_ids[0]
            ids = torch.tensor([[pad] * (width - len(prompts[k])) + list(prompts[k]) for k in batch])
            mask = torch.tensor([[0] * (width - len(prompts[k])) + [1] * len(prompts[k]) for k in batch])
            logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits[:, -1]
            for row, k in enumerate(batch):
                found[k] = max(options[k], key=lambda letter: float(logits[row, letters[letter]]))
        return [found[k] for k in range(len(prompts))]

    base, tuned = models.both(chosen)
    right = [np.array([a == b for a, b in zip(found, rights, strict=True)], float) for found in (base, tuned)]
    chance = float(np.mean([1 / len(given) for given in options]))
    return {
        "questions": len(lines),
        "chance": round(chance, 4),
        "base": round(float(right[0].mean()), 4),
        "base_95": interval(lambda k: right[0][k].mean(axis=1), len(lines)),
        "tuned": round(float(right[1].mean()), 4),
        "tuned_95": interval(lambda k: right[1][k].mean(axis=1), len(lines)),
        "change_95": interval(lambda k: (right[1] - right[0])[k].mean(axis=1), len(lines)),
    }


def main() -> None:
    """Computes what was asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True, metavar="DIR")
    parser.add_argument("--adapter", type=Path, default=local_folder(pair_spec("demo").tuned), metavar="DIR")
    parser.add_argument("--only", default="loss,repetition,choice", help="default: %(default)s")
    parser.add_argument("--rows", type=int, help="at most so many rows a file, for a quick look")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answers", type=Path, help="write the greedy answers here, to be read")
    arguments = parser.parse_args()
    models = Models(arguments.adapter)
    figures: dict[str, Any] = {"adapter_sha256": sha256_of(arguments.adapter / "adapter_model.safetensors")}
    started = time.perf_counter()
    if "loss" in arguments.only:
        figures["loss"] = {}
        for name, text in LOSS_FILES.items():
            rows = choose_rows(parse_choice(f"{arguments.files}/{text}"), seed=1)[: arguments.rows]
            figures["loss"][name] = loss_figures(models, rows)
            print(name, figures["loss"][name], file=sys.stderr, flush=True)
    if "repetition" in arguments.only:
        rows = [row for text in ASKED for row in choose_rows(parse_choice(f"{arguments.files}/{text}"), seed=1)]
        figures["repetition"] = repetition_figures(models, rows[: arguments.rows], arguments.answers)
        print(figures["repetition"], file=sys.stderr, flush=True)
    if "choice" in arguments.only:
        figures["choice"] = letter_figures(models, arguments.files / CHOICES, arguments.rows)
    figures["minutes"] = round((time.perf_counter() - started) / 60, 1)
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
