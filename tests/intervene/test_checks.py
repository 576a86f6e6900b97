"""Identities on the text at hand: they hold on sound pairs, and fail where something is broken."""

from dataclasses import replace

import pytest
import torch

from core.intervene import checks as module
from core.intervene.checks import checks
from core.pair.gated_linear import GatedLinear
from core.pair.pair import Pair
from tests.intervene.test_walk import text_ids


def test_every_identity_holds_on_a_sound_pair(pair: Pair) -> None:
    ids = text_ids(pair)
    shares: list[float] = []
    found = checks(pair, ids, range(len(ids) - 6, len(ids)), shares.append)
    assert [check.says for check in found if not check.holds] == []
    assert len(found) == 7
    assert shares[-1] == 1.0
    assert all(check.measured > 0 for check in found if "merged" in check.says)  # computed in another way, truly


def test_a_change_the_gates_miss_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One module's scaling is off by a tenth: what gates give is not the merged model any more."""
    ids = text_ids(pair)
    gated = next(m for m in pair.model.modules() if isinstance(m, GatedLinear))
    real = module.merged

    def wrong(one: GatedLinear) -> torch.nn.Linear:
        plain = real(one)
        if one is gated:
            plain.weight.data += 0.1 * one.scaling * (one.up @ one.down)
        return plain

    monkeypatch.setattr(module, "merged", wrong)
    broken = [check.says for check in checks(pair, ids, [len(ids) - 1]) if not check.holds]
    assert broken == ["all gates open = the base model with the fine-tune merged into its weights"]


def test_what_is_no_number_does_not_hold(pair: Pair) -> None:
    check = checks(pair, text_ids(pair), [5])[0]
    assert not replace(check, measured=float("nan")).holds
