"""A pair that was unloaded: nothing holds its weights, whoever holds the pair."""

import gc
import weakref

import pytest

from core.errors import ArgumentError
from core.measure.noise import noise_of
from core.pair.open import load_pair
from core.pair.registry import spec_of
from tests.conftest import TinyFolders


def test_a_released_pair_keeps_its_texts_and_no_weights(folders: TinyFolders) -> None:
    pair = load_pair(spec_of(str(folders.base), str(folders.tuned)))
    noise, ids = noise_of(pair), pair.prompts.answer_ids("It is.")
    alive = [weakref.ref(pair.model), weakref.ref(pair.model.get_output_embeddings().weight), weakref.ref(pair.unembed)]
    pair.release()
    gc.collect()
    assert [one() for one in alive] == [None, None, None]
    assert pair.prompts.text(ids) == "It is."
    assert noise_of(pair) == noise
    assert pair.adapter.banner
    with pytest.raises(ArgumentError, match="unloaded"):
        pair.hidden(pair.ids([ids]), pair.base_gates())
