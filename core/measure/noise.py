"""The noise floor: how far base is from itself when computed by another numerical route.

Knows routes and KL; remembers what it measured, by weights, device, dtype and torch version.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from core.measure.divergence import js_distance, js_divergence, kl_divergence
from core.measure.drift import drift_cosine, drift_norm
from core.pair.blocks import Blocks, unwalkable
from core.pair.files import write_atomically
from core.pair.home import graft_home
from core.pair.open import PROBE
from core.pair.padded_blocks import PaddedBlocks
from core.pair.pair import Pair
from core.pair.prompts import Message
from core.pair.routes import ROUTES


@dataclass(frozen=True)
class Noise:
    """Base against base by other routes, on the probe text.

    Attributes:
        kl: 99th percentile over tokens and pairs of routes of the KL, nats: the noise floor.
        logit: largest |Δlogit|.
        js_distance: as `kl`, of √(JS in bits).
        logp: as `kl`, of |Δ ln p| of the token that is written.
        drift_norm, drift_cosine: as `kl`, of the drift of a state after any layer, position 0 left out, between two
            ways to walk through the layers; 0 where layers cannot be run one at a time.
        n_tokens: how many positions were compared.
        routes: their names.
    """

    kl: float
    logit: float
    js_distance: float
    logp: float
    drift_norm: float
    drift_cosine: float
    n_tokens: int
    routes: tuple[str, ...]


_FORM = "2"  # of what is remembered
_measured: dict[str, Noise] = {}


def noise_of(pair: Pair) -> Noise:
    """The pair's noise, measured once per machine setting and remembered in the cache folder."""
    setting = (version("transformers"), torch.__version__, str(torch.get_num_threads()), pair.device, pair.dtype)
    key = "|".join((_FORM, pair.identity.base_sha256, pair.prompts.template_sha256 or "", *setting))
    if key not in _measured:
        _measured[key] = _stored_or_measured(pair, key)
    return _measured[key]


def _stored_or_measured(pair: Pair, key: str) -> Noise:
    store = graft_home() / "noise.json"
    known = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(store.read_text())
    if key not in known:
        known[key] = asdict(measure_noise(pair))
        with contextlib.suppress(OSError):  # a read-only cache folder only means measuring again next time
            write_atomically(store, json.dumps(known, indent=1))
    found = known[key]
    return Noise(**{**found, "routes": tuple(found["routes"])})


@torch.no_grad()
def measure_noise(pair: Pair) -> Noise:
    """Runs base on the probe text by each route and compares every two of them."""
    prompts = pair.prompts
    prompt = prompts.chat([Message(role="user", content=PROBE)]) if prompts.template_sha256 else prompts.raw(PROBE)
    routes = [pair.unembed(route(pair, prompt.ids, pair.base_gates())[0]) for route in ROUTES.values()]
    logits = list(combinations(routes, 2))
    written = pair.ids([prompt.ids])[0, 1:, None]
    logp = [found[:-1].double().log_softmax(dim=-1).gather(-1, written) for found in routes]
    return Noise(
        kl=_floor([kl_divergence(a, b) for a, b in logits]),
        logit=max(float((a - b).abs().max()) for a, b in logits),
        js_distance=_floor([js_distance(js_divergence(a, b)) for a, b in logits]),
        logp=_floor([(a - b).abs().flatten() for a, b in combinations(logp, 2)]),
        **_drift_noise(pair, prompt.ids),
        n_tokens=len(prompt.ids),
        routes=tuple(ROUTES),
    )


def _drift_noise(pair: Pair, ids: Sequence[int]) -> dict[str, float]:
    norms, cosines = [], []
    if not unwalkable(pair, len(ids)):
        text, padded, base = Blocks(pair, ids), PaddedBlocks(pair, ids), pair.base_gates()
        states, again = text.start(), padded.start()
        for layer in range(pair.n_layers):
            states, again = text.layer(layer, states, base), padded.layer(layer, again, base)
            one, other = states[0, 1:], padded.unpadded(again)[0, 1:]
            norms.append(drift_norm(other, one))
            cosines.append(drift_cosine(other, one))
    return {"drift_norm": _floor(norms), "drift_cosine": _floor(cosines)}


def _floor(values: Sequence[Tensor]) -> float:
    return float(np.percentile(torch.cat(list(values)).cpu().numpy(), 99)) if values else 0.0
