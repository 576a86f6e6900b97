"""The command line's numbers against plain transformers and peft, which know nothing of this project."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.command import run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import N_LAYERS

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]

QUESTION = "What is asthma?"
REASONED = "## Thinking\n\nOkay, the lungs.\n\n## Final Response\n\nA disease of the airways."
WORDS = {"reasoning": "Okay, the lungs.", "answer": "A disease of the airways."}
CLOSE = pytest.approx


@dataclass(frozen=True)
class Plain:
    """The two models as plain transformers and peft load them, and their tokenizer."""

    base: Any
    tuned: Any
    tokenizer: Any

    @torch.no_grad()
    def log_p(self, model: str, ids: list[int]) -> Tensor:
        """(pos, d_vocab) natural log-probabilities, float64."""
        return torch.log_softmax(getattr(self, model)(torch.tensor([ids])).logits[0].double(), dim=-1)

    @torch.no_grad()
    def greedy(self, model: str, prompt: list[int], n: int) -> list[int]:
        ids = torch.tensor([prompt])
        written = getattr(self, model).generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False
        )
        return written[0, len(prompt) :].tolist()  # type: ignore[no-any-return]

    def chat(self, question: str, system: str | None = None) -> list[int]:
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": question})
        return list(
            self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        )


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture(scope="module")
def plain(folders: TinyFolders) -> Plain:
    def load(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    tuned = PeftModel.from_pretrained(load(folders.base), folders.tuned).eval()
    return Plain(load(folders.base), tuned, AutoTokenizer.from_pretrained(folders.base))


def report_of(folders: TinyFolders, *arguments: str) -> dict[str, Any]:
    outcome = run_command(*arguments, "--base", str(folders.base), "--tuned", str(folders.tuned), "--json")
    assert outcome.code == 0, outcome.out + outcome.err
    return outcome.report


@pytest.fixture(scope="module")
def scored(folders: TinyFolders) -> dict[str, Any]:
    return report_of(folders, "diff", QUESTION, "--answer", REASONED)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(P‖Q), as the textbook writes it."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def test_each_score_is_of_the_distribution_that_predicted_its_token(scored: dict[str, Any], plain: Plain) -> None:
    ids = scored["prompt_ids"] + scored["answer_ids"]
    base, tuned = plain.log_p("base", ids), plain.log_p("tuned", ids)
    middle = ((base.exp() + tuned.exp()) / 2).log()
    by_definition = {
        "kl_tuned_base": kl(tuned, base),
        "kl_base_tuned": kl(base, tuned),
        "js": (kl(tuned, middle) + kl(base, middle)) / 2,
        "tv": (tuned.exp() - base.exp()).abs().sum(dim=-1) / 2,
        "entropy_base": -(base.exp() * base).sum(dim=-1),
        "entropy_tuned": -(tuned.exp() * tuned).sum(dim=-1),
    }
    assert float((by_definition["kl_tuned_base"] - by_definition["kl_base_tuned"]).abs().min()) > 1e-3
    for pos, token in enumerate(scored["tokens"][1:], start=1):
        for name, values in by_definition.items():
            assert token[name] == CLOSE(float(values[pos - 1]), abs=1e-4), (pos, name)


def test_log_probabilities_ranks_and_first_choices_are_those_of_plain_models(
    scored: dict[str, Any], plain: Plain
) -> None:
    ids = scored["prompt_ids"] + scored["answer_ids"]
    for model in ("base", "tuned"):
        log_p = plain.log_p(model, ids)
        for token in scored["tokens"][1:]:
            row = log_p[token["pos"] - 1]
            own = float(row[token["id"]])
            assert token[f"logp_{model}"] == CLOSE(own, abs=1e-4)
            # Tokens as likely as this one up to rounding may fall on either side.
            assert int((row > own + 1e-4).sum()) < token[f"rank_{model}"] <= int((row > own - 1e-4).sum()) + 1
            choices = token[f"top_{model}"]
            assert [choice["logp"] for choice in choices] == CLOSE(row.topk(10).values.tolist(), abs=1e-4)
            assert [choice["logp"] for choice in choices] == CLOSE([float(row[c["id"]]) for c in choices], abs=1e-4)
    assert all(t["delta_logp"] == CLOSE(t["logp_tuned"] - t["logp_base"]) for t in scored["tokens"][1:])


def token_starts(tokens: list[dict[str, Any]]) -> list[int]:
    """Where each token begins, in bytes."""
    lengths = [len(bytes.fromhex(token["bytes"])) for token in tokens]
    return [sum(lengths[:index]) for index in range(len(tokens))]


def words_of(report: dict[str, Any], *spans: str) -> list[dict[str, Any]]:
    """The answer's tokens that begin within one of these pieces of its text."""
    answer = report["tokens"][len(report["prompt_ids"]) :]
    ranges = [range(REASONED.index(span), REASONED.index(span) + len(span)) for span in spans]
    starts = token_starts(answer)
    return [token for token, start in zip(answer, starts, strict=True) if any(start in inside for inside in ranges)]


@pytest.mark.parametrize("mask", ["answer", "reasoning", "response", "prompt", "all"])
def test_a_mask_decides_what_the_summary_covers(folders: TinyFolders, mask: str) -> None:
    report = report_of(folders, "diff", QUESTION, "--answer", REASONED, "--end", "--mask", mask)
    expected = {
        "answer": words_of(report, WORDS["answer"]),
        "reasoning": words_of(report, WORDS["reasoning"]),
        "response": words_of(report, *WORDS.values()),
        "prompt": [token for token in report["tokens"] if token["part"] == "prompt"],
        "all": report["tokens"][1:],
    }[mask]
    assert report["mask"] == mask
    for metric in ("kl_tuned_base", "delta_logp"):
        summary, values = report["summary"][metric], [token[metric] for token in expected]
        assert summary["n"] == len(values) > 0
        assert summary["sum"] == CLOSE(math.fsum(values))
        assert summary["mean"] == CLOSE(math.fsum(values) / len(values))
        assert summary["max"] == max(values)
    if mask == "prompt":
        assert "".join(token["text"] for token in expected) == QUESTION
    assert all(token["js"] is not None for token in report["tokens"][1:])


def test_concentration_is_the_share_of_the_largest_scores(scored: dict[str, Any]) -> None:
    values = sorted((token["kl_tuned_base"] for token in words_of(scored, *WORDS.values())), reverse=True)
    for share, name in ((0.01, "top_1pct"), (0.05, "top_5pct"), (0.1, "top_10pct")):
        top = values[: math.ceil(share * len(values))]
        assert scored["concentration"][name] == CLOSE(math.fsum(top) / math.fsum(values))


def test_the_default_mask_is_reasoning_and_answer(scored: dict[str, Any]) -> None:
    assert scored["mask"] == "response"
    assert scored["summary"]["js"]["n"] == len(words_of(scored, *WORDS.values()))


def test_a_given_answer_is_tokenised_alone_and_unstripped(folders: TinyFolders, plain: Plain) -> None:
    answer = "  Yes, the lungs.\n"
    report = report_of(folders, "diff", QUESTION, "--answer", answer)
    assert report["answer_ids"] == plain.tokenizer(answer, add_special_tokens=False)["input_ids"]
    assert report["answer_text"] == answer
    assert report["prompt_ids"] == plain.chat(QUESTION)
    ended = report_of(folders, "diff", QUESTION, "--answer", answer, "--end")
    assert ended["answer_ids"] == [*report["answer_ids"], plain.tokenizer.eos_token_id]
    assert ended["tokens"][-1]["part"] == "end"


def test_control_tokens_in_a_given_answer_are_plain_text(folders: TinyFolders, plain: Plain) -> None:
    answer = f"Yes.{plain.tokenizer.eos_token}"
    report = report_of(folders, "diff", QUESTION, "--answer", answer)
    assert plain.tokenizer.eos_token_id not in report["answer_ids"]
    assert report["answer_text"] == answer


def test_answer_ids_are_taken_as_they_are(folders: TinyFolders, plain: Plain) -> None:
    ids = [70, 71, 72]
    assert report_of(folders, "diff", QUESTION, "--answer-ids", "70,71,72")["answer_ids"] == ids
    ended = report_of(folders, "diff", QUESTION, "--answer-ids", "70,71,72", "--end")
    assert ended["answer_ids"] == [*ids, plain.tokenizer.eos_token_id]


@pytest.mark.parametrize(("chosen", "model"), [([], "tuned"), (["--answer-from", "base"], "base")])
def test_a_generated_answer_is_the_models_greedy_one(
    folders: TinyFolders, plain: Plain, chosen: list[str], model: str
) -> None:
    report = report_of(folders, "diff", QUESTION, *chosen, "--max-new-tokens", "9")
    assert report["answer_ids"] == plain.greedy(model, plain.chat(QUESTION), 9)
    assert {token[f"rank_{model}"] for token in report["tokens"][len(report["prompt_ids"]) :]} == {1}


def test_a_system_prompt_goes_through_the_template(folders: TinyFolders, plain: Plain) -> None:
    report = report_of(folders, "diff", QUESTION, "--answer", "Yes.", "--system", "Be brief.")
    assert report["prompt_ids"] == plain.chat(QUESTION, system="Be brief.")
    assert report["prompt_ids"] != plain.chat(QUESTION)


def test_raw_text_bypasses_the_template(folders: TinyFolders, plain: Plain) -> None:
    report = report_of(folders, "diff", QUESTION, "--answer", " Yes.", "--raw")
    assert report["prompt_ids"] == plain.tokenizer(QUESTION)["input_ids"]


@pytest.fixture(scope="module")
def asked(folders: TinyFolders) -> dict[str, Any]:
    return report_of(folders, "ask", QUESTION, "--max-new-tokens", "12")


def lanes_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {lane["name"]: lane for lane in report["lanes"]}


def test_base_and_tuned_lanes_are_the_models_greedy_answers(asked: dict[str, Any], plain: Plain) -> None:
    for model in ("base", "tuned"):
        lane = lanes_of(asked)[model]
        assert lane["ids"] == plain.greedy(model, plain.chat(QUESTION), 12)
        assert lane["finished"] == "length"
        assert lane["text"] == plain.tokenizer.decode(lane["ids"])


def test_lanes_are_as_far_from_the_models_as_plain_models_say(asked: dict[str, Any], plain: Plain) -> None:
    prompt = plain.chat(QUESTION)
    for name, lane in lanes_of(asked).items():
        ids, first = prompt + lane["ids"], len(prompt) - 1
        base, tuned = (plain.log_p(model, ids)[first:-1] for model in ("base", "tuned"))
        if name == "base":
            assert (lane["kl_to_base"], lane["kl_to_tuned"]) == (0, CLOSE(float(kl(base, tuned).mean()), abs=1e-4))
        elif name == "tuned":
            assert (lane["kl_to_tuned"], lane["kl_to_base"]) == (0, CLOSE(float(kl(tuned, base).mean()), abs=1e-4))
        else:
            assert min(lane["kl_to_base"], lane["kl_to_tuned"]) > 0


def test_first_divergence_is_where_base_and_tuned_part(asked: dict[str, Any]) -> None:
    lanes = lanes_of(asked)
    differ = [a != b for a, b in zip(lanes["base"]["ids"], lanes["tuned"]["ids"], strict=True)]
    assert asked["first_divergence"] == (differ.index(True) if any(differ) else None)


def test_the_default_hybrid_has_the_upper_third_of_the_layers(asked: dict[str, Any]) -> None:
    lanes = lanes_of(asked)
    assert lanes["base"]["gates"] == [[0, 0]] * N_LAYERS
    assert lanes["tuned"]["gates"] == [[1, 1]] * N_LAYERS
    assert lanes["hybrid"]["gates"] == [[0, 0], [0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("arguments", "gates"),
    [
        (["--layers", "none"], [[0, 0], [0, 0], [0, 0], [0, 0]]),
        (["--layers", "all"], [[1, 1], [1, 1], [1, 1], [1, 1]]),
        (["--layers", "1-2"], [[0, 0], [1, 1], [1, 1], [0, 0]]),
        (["--layers", "1-2", "--direction", "base-into-tuned"], [[1, 1], [0, 0], [0, 0], [1, 1]]),
        (["--layers", "3,0-1", "--part", "attn"], [[1, 0], [1, 0], [0, 0], [1, 0]]),
        (["--layers", "2", "--part", "mlp", "--strength", "0.5"], [[0, 0], [0, 0], [0, 0.5], [0, 0]]),
    ],
)
def test_layers_part_and_strength_make_the_gates(
    folders: TinyFolders, asked: dict[str, Any], arguments: list[str], gates: list[list[float]]
) -> None:
    hybrid = lanes_of(report_of(folders, "ask", QUESTION, "--max-new-tokens", "12", *arguments))["hybrid"]
    assert hybrid["gates"] == gates
    same_as = {"none": "base", "all": "tuned"}.get(arguments[1])
    if same_as:
        assert hybrid["ids"] == lanes_of(asked)[same_as]["ids"]


def test_sampling_follows_the_seed(folders: TinyFolders) -> None:
    def answers(seed: str) -> list[list[int]]:
        options = ["--temperature", "1", "--top-p", "0.95", "--max-new-tokens", "12", "--seed", seed]
        return [lane["ids"] for lane in report_of(folders, "ask", QUESTION, *options)["lanes"]]

    assert answers("3") == answers("3")
    assert answers("3") != answers("4")


def test_divergence_by_part_covers_each_part_whatever_the_mask(folders: TinyFolders) -> None:
    report = report_of(folders, "diff", QUESTION, "--answer", REASONED, "--mask", "answer")
    for part, found in report["by_part"].items():
        own = [t["kl_tuned_base"] for t in report["tokens"] if t["part"] == part and t["kl_tuned_base"] is not None]
        assert found["n"] == len(own)
        assert found["mean"] == CLOSE(sum(own) / len(own)), part
    assert {"prompt", "template", "format", "reasoning", "answer"} == set(report["by_part"])


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "html"])
def test_a_picture_is_written_with_metric_mask_and_granularity(folders: TinyFolders, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"heat.{kind}"
    drawn = ["--metric", "tv", "--granularity", "word", "--mask", "answer", "--out", str(file)]
    report_of(folders, "diff", QUESTION, "--answer", REASONED, *drawn)
    content = file.read_bytes()
    if kind in ("svg", "html"):
        text = content.decode().replace("\xa0", " ")
        assert "TV(tuned, base), 0 to 1.0, fixed scale" in text
        assert "A given answer" in text
        # The value itself is on the page; the picture has colours only.
        assert ("title=" in text) == (kind == "html")
    else:
        assert content.startswith(b"\x89PNG" if kind == "png" else b"%PDF")
