"""Which pair a study measures, in a form that can be written down and opened again elsewhere.

Knows names and folders; measures nothing but the pair's noise floor.
"""

from dataclasses import dataclass

from core.measure.noise import noise_of
from core.pair.open import load_pair
from core.pair.pair import Pair
from core.pair.registry import Source, known_pairs, pair_spec, spec_of
from core.study.floors import floors_of
from core.study.frames import Floors


@dataclass(frozen=True)
class PairChoice:
    """A pair as it is asked for.

    Attributes:
        pair: name of a registered pair; None where two halves are named.
        base, tuned: folders or hub ids; None for a registered pair.
        device, dtype: where it runs and in which number format; None for the device's default.
    """

    pair: str | None = "demo"
    base: str | None = None
    tuned: str | None = None
    device: str = "cpu"
    dtype: str | None = None

    @classmethod
    def of(cls, pair: Pair) -> "PairChoice":
        """What opens this very pair again."""
        spec = pair.spec
        if known_pairs().get(spec.name) == spec:
            return cls(spec.name, None, None, pair.device, pair.dtype)
        return cls(None, _typed(spec.base), _typed(spec.tuned), pair.device, pair.dtype)

    def load(self) -> Pair:
        """Opens it.

        Raises:
            PairUnavailableError, AdapterError, ArgumentError: as `load_pair`.
        """
        spec = spec_of(self.base, self.tuned) if self.base and self.tuned else pair_spec(self.pair or "demo")
        return load_pair(spec, self.device, self.dtype)


@dataclass(frozen=True)
class PairFacts:
    """What figures made with a pair can be traced back to, and what resuming has to find again.

    Attributes:
        pair: its name.
        base_id, base_sha256, tuned_id, tuned_sha256: its halves.
        template_sha256: of the chat template's text.
        device, dtype: where the base ran and in which number format.
        noise_floor: 99th percentile of KL(base‖base) between numerical routes, nats.
        floors: the same in every unit of the claims.
        n_layers, d_model: dimensions.
        warnings: what to know about the adapter, in full sentences.
    """

    pair: str
    base_id: str
    base_sha256: str
    tuned_id: str
    tuned_sha256: str
    template_sha256: str | None
    device: str
    dtype: str
    noise_floor: float
    floors: Floors
    n_layers: int
    d_model: int
    warnings: tuple[str, ...]

    @property
    def decisive(self) -> tuple[tuple[str, str | None], ...]:
        """What must be the same for numbers to belong together."""
        kind = self.device.partition(":")[0]
        return (
            ("base", self.base_sha256),
            ("fine-tune", self.tuned_sha256),
            ("chat template", self.template_sha256),
            ("device", kind),
            ("dtype", self.dtype),
        )


def facts_of(pair: Pair) -> PairFacts:
    """The facts of a pair."""
    return PairFacts(
        pair=pair.spec.name,
        base_id=pair.identity.base_id,
        base_sha256=pair.identity.base_sha256,
        tuned_id=pair.identity.tuned_id,
        tuned_sha256=pair.identity.tuned_sha256,
        template_sha256=pair.prompts.template_sha256,
        device=pair.device,
        dtype=pair.dtype,
        noise_floor=noise_of(pair).kl,
        floors=floors_of(pair),
        n_layers=pair.n_layers,
        d_model=pair.d_model,
        warnings=pair.adapter.warnings,
    )


def _typed(source: Source) -> str:
    """What names a source on the command line."""
    if source.hub:
        return f"{source.hub}@{source.revision}" if source.revision else source.hub
    return source.path or source.id
