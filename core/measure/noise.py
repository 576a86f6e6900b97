"""The noise floor: how far base is from itself when computed by another numerical route.

Knows routes and KL; remembers what it measured, by weights, device, dtype and torch version.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations

import numpy as np
import torch

from core.measure.divergence import js_distance, js_divergence, kl_divergence
from core.pair.files import write_atomically
from core.pair.home import graft_home
from core.pair.open import PROBE
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
        n_tokens: how many positions were compared.
        routes: their names.
    """

    kl: float
    logit: float
    js_distance: float
    n_tokens: int
    routes: tuple[str, ...]


_measured: dict[str, Noise] = {}


def noise_of(pair: Pair) -> Noise:
    """The pair's noise, measured once per machine setting and remembered in the cache folder."""
    setting = (version("transformers"), torch.__version__, str(torch.get_num_threads()), pair.device, pair.dtype)
    key = "|".join((pair.identity.base_sha256, pair.prompts.template_sha256 or "", *setting))
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
    logits = [pair.unembed(route(pair, prompt.ids, pair.base_gates())[0]) for route in ROUTES.values()]
    kl = torch.cat([kl_divergence(a, b) for a, b in combinations(logits, 2)])
    distance = js_distance(torch.cat([js_divergence(a, b) for a, b in combinations(logits, 2)]))
    largest = max(float((a - b).abs().max()) for a, b in combinations(logits, 2))
    floors = [float(np.percentile(values.cpu().numpy(), 99)) for values in (kl, distance)]
    return Noise(floors[0], largest, floors[1], len(prompt.ids), tuple(ROUTES))
