"""The noise of one token's or one state's figures, as the claims of a study take it.

Knows a pair's measured noise; computes no claims.
"""

from core.measure.noise import noise_of
from core.pair.pair import Pair
from core.study.frames import Floors

LEAST = 1e-12
"""No floor is below this, so that logarithms exist where two routes agree to the last bit."""


def floors_of(pair: Pair) -> Floors:
    """Base against itself, 99th percentiles over the probe text."""
    noise = noise_of(pair)
    return Floors(**{name: max(LEAST, getattr(noise, name)) for name in ("kl", "logp", "drift_norm", "drift_cosine")})
