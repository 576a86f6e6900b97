"""The loss over trained positions alone is the loss that transformers gives, and so are its gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.pair.load import load_base
from core.train.answer_loss import POSITIONS_AT_ONCE, mean_loss
from core.train.encode import Example, collate
from core.train.finetune import with_adapter
from core.train.settings import FinetuneSettings
from tests.train.runs import settings_for


def _model(base: Path, **changes: Any) -> Any:
    settings: FinetuneSettings = settings_for(base, **changes)
    model = with_adapter(load_base(base, "cpu", torch.float32)[0], settings)
    random = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # they begin at zero, where no factor A has a gradient
            parameter.data = torch.randn(parameter.shape, generator=random) * 0.05
    return model


def _batch(lengths: tuple[int, ...], pad_id: int = 3) -> dict[str, Tensor]:
    """Rows of random ids, the pad's own id among them, of which the first four are prompt."""
    random = torch.Generator().manual_seed(1)
    rows = [tuple(torch.randint(2, 60, (n,), generator=random).tolist()) for n in lengths]
    return collate([Example(str(k), ids, 4, ("answer",) * (len(ids) - 4)) for k, ids in enumerate(rows)], pad_id)


def _gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("base", ["llama_base", "qwen2_base"])
@pytest.mark.parametrize("lengths", [(9, 30, 17), (90, 61, 80)])
def test_loss_and_gradients_are_those_of_transformers(
    base: str, lengths: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    model, batch = _model(request.getfixturevalue(base)), _batch(lengths)
    assert (sum(lengths) > POSITIONS_AT_ONCE) == (lengths[0] == 90)  # one piece, and several
    expected = model(**batch).loss
    wanted = _gradients(model, expected)
    found = mean_loss(model, batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = _gradients(model, found)
    assert gradients.keys() == wanted.keys()
    assert all(wanted[name].norm() > 0 for name in wanted)
    for name in wanted:
        torch.testing.assert_close(gradients[name], wanted[name], rtol=1e-3, atol=2e-6)


def test_a_mean_over_more_than_the_batch(llama_base: Path) -> None:
    model, batch = _model(llama_base), _batch((9, 30, 17))
    trained = (9 + 30 + 17) - 3 * 4
    assert mean_loss(model, batch, 4 * trained).item() == pytest.approx(mean_loss(model, batch).item() / 4, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_an_unembedding_with_an_adapter_of_its_own_gets_its_gradient(llama_base: Path) -> None:
    model, batch = _model(llama_base, targets=("q_proj", "lm_head")), _batch((9, 30, 17))
    gradients = _gradients(model, mean_loss(model, batch))
    assert any("lm_head" in name and gradient.norm() > 0 for name, gradient in gradients.items())
