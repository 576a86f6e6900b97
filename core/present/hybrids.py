"""A hybrid as a person sets it up and names it, and as one line of text.

The text is what links, saved sets and the command line carry: `NAME: 20-29 / mlp / 0.5 / base-into-tuned`, with
part, strength and direction left out where they are the usual ones; `NAME: 20 / mlp_out` where activations are patched
instead of weights grafted, and `NAME: all / alpha=1.5` where the difference of the logits is amplified. Knows the layer
grammar; knows no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.errors import ArgumentError, GraftError
from core.generate.answers import standard_lanes
from core.generate.lane import Kind, Lane, amplified_lane, check_alpha, patched_lane
from core.pair.gates import DIRECTIONS, PARTS, Gates, check_strength, format_layers, hybrid_gates, parse_layers
from core.pair.pair import Pair
from core.pair.patches import SITES, check_site
from core.present.colour import SPEAKER_WORDS

MAX_HYBRIDS = 3
MAX_NAME = 24
SITE_WORDS = dict(
    zip(
        SITES,
        (
            "residual before a layer",
            "residual after attention",
            "residual after a layer",
            "what attention adds",
            "what the MLP adds",
        ),
        strict=True,
    )
)
_SITE_AT = dict(
    zip(
        SITES,
        (
            "residual before",
            "residual after attention of",
            "residual after",
            "what attention adds in",
            "what the MLP adds in",
        ),
        strict=True,
    )
)
_RESERVED = ":;/"
_ALPHA = "alpha="
_FORK = "fork-"


@dataclass(frozen=True)
class Hybrid:
    """One hybrid.

    Attributes:
        name: what the person calls it.
        layers, part, strength: in the layer grammar of the command line.
        direction: `tuned-into-base`, or `base-into-tuned` where the chosen layers are the base's.
        site: where weights are not grafted but activations patched, which of them; else empty.
        alpha: where logits are extrapolated from base beyond fine-tuned, how far; else null.
    """

    name: str = "Hybrid"
    layers: str = "none"
    part: str = "both"
    strength: float = 1.0
    direction: str = "tuned-into-base"
    site: str = ""
    alpha: float | None = None

    @property
    def kind(self) -> Kind:
        """What makes it a hybrid."""
        if self.alpha is not None:
            return "amplify"
        return "patch" if self.site else "graft"

    def lane(self, pair: Pair, name: str) -> Lane:
        """The lane it writes.

        Raises:
            ArgumentError: a layer, site or setting does not exist or is out of range.
        """
        if self.alpha is not None:
            return amplified_lane(name, pair.base_gates(), pair.tuned_gates(), self.alpha)
        if not self.site:
            return Lane(name, self.gates(pair.n_layers))
        ends = [pair.base_gates(), pair.tuned_gates()]
        recipient, donor = ends if self.direction == DIRECTIONS[0] else ends[::-1]
        return patched_lane(name, recipient, donor, self.site, parse_layers(self.layers, pair.n_layers))

    def gates(self, n_layers: int) -> Gates:
        """Its gates, one row.

        Raises:
            ArgumentError: a layer does not exist, a setting is out of range, or it is no graft.
        """
        if self.kind != "graft":
            raise ArgumentError(f"{self.name} is made of more than weights.", "Choose a hybrid of grafted layers.")
        return hybrid_gates(n_layers, self.layers, self.part, self.strength, self.direction)

    def check(self, n_layers: int) -> None:
        """Refuses what a model of so many layers cannot be made into.

        Raises:
            ArgumentError: a layer, site or setting does not exist or is out of range; a patch names no layer.
        """
        if self.kind == "graft":
            self.gates(n_layers)
        elif self.alpha is not None:
            check_alpha(self.alpha)
        elif check_site(self.site) and not parse_layers(self.layers, n_layers):
            raise ArgumentError(f"{self.name} patches no layer.", "Choose at least one.")

    def normal(self, n_layers: int) -> "Hybrid":
        """The same hybrid with its layers in their shortest form.

        Raises:
            ArgumentError: a layer does not exist.
        """
        return replace(self, layers=format_layers(parse_layers(self.layers, n_layers), n_layers))

    def same_model(self, other: "Hybrid") -> bool:
        """Whether it is the same model under whatever name."""
        return replace(self, name=other.name) == other

    def text(self) -> str:
        """As one line; `hybrid_from` reads it back."""
        words = [self.layers]
        if self.alpha is not None:
            return f"{self.name}: all / {_ALPHA}{_plain(self.alpha)}"
        if self.site:
            words.append(self.site)
        if self.part != "both":
            words.append(self.part)
        if self.strength != 1:
            words.append(_plain(self.strength))
        if self.direction != DIRECTIONS[0]:
            words.append(self.direction)
        return f"{self.name}: {' / '.join(words)}"

    def described(self) -> str:
        """What it is made of, for a title."""
        if self.alpha is not None:
            return f"amplified difference, α {'−' if self.alpha < 0 else ''}{abs(self.alpha):g}"
        layers = f"{'layer' if self.layers.isdecimal() else 'layers'} {self.layers}"
        if self.site:
            donor, recipient = ("fine-tuned", "base") if self.direction == DIRECTIONS[0] else ("base", "fine-tuned")
            return f"{_SITE_AT[self.site]} {layers}, patched from {donor} into {recipient}"
        part = "" if self.part == "both" else f", {self.part} only"
        strength = "" if self.strength == 1 else f", strength {self.strength:g}"
        donor = "fine-tuned" if self.direction == DIRECTIONS[0] else "base"
        return f"{donor} {layers}{part}{strength}"


def _plain(value: float) -> str:
    """A number as it is read back, whole ones without a point."""
    return str(value).removesuffix(".0")


def checked_name(name: str) -> str:
    """A name that lines of text can carry.

    Raises:
        ArgumentError: it is empty, too long, another lane's, or holds `:`, `;`, `/` or a line break.
    """
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or any(c in name for c in _RESERVED):
        raise ArgumentError(
            f"{name[:60]!r} cannot be a hybrid's name.", f"Use 1 to {MAX_NAME} characters without : ; / or line breaks."
        )
    if name.casefold() in {word.casefold() for word in SPEAKER_WORDS.values()} - {"hybrid"}:
        raise ArgumentError(f"{name!r} is what another lane is called.", "Choose another name.")
    return name


def hybrid_from(text: str) -> Hybrid:
    """A hybrid from its line; without a name it is called Hybrid. Whether the layers exist, a model says.

    Raises:
        ArgumentError: something in it is not understood.
    """
    name, colon, rest = text.partition(":")
    layers, *words = [word.strip() for word in (rest if colon else text).split("/")]
    if not layers:
        raise ArgumentError(f"{text[:80]!r} names no layers.", "Write for example: Upper: 20-29 / mlp / 0.5")
    found: dict[str, str | float] = {}
    for word in words:
        kind: str
        value: str | float = word
        if word in SITES:
            kind = "site"
        elif word.startswith(_ALPHA):
            kind, value = "alpha", _number(word.removeprefix(_ALPHA), text, check_alpha)
        elif word in PARTS:
            kind = "part"
        elif word in DIRECTIONS:
            kind = "direction"
        else:
            kind, value = "strength", _number(word, text, check_strength)
        if kind in found:
            raise ArgumentError(f"{text[:80]!r} gives the {kind} twice.", "Give it once.")
        found[kind] = value
    for alone in ("alpha", "site"):
        beside = set(found) - {alone} - ({"direction"} if alone == "site" else set())
        if alone in found and (beside or (alone == "alpha" and layers != "all")):
            what = ", ".join(sorted(beside)) or f"layers {layers}"
            raise ArgumentError(f"{text[:80]!r} gives {alone} together with {what}.", "Leave one of them out.")
    return Hybrid(checked_name(name) if colon else "Hybrid", layers, **found)  # type: ignore[arg-type]


def _number(word: str, text: str, check: Callable[[float], float]) -> float:
    try:
        return check(float(word))
    except (ValueError, GraftError) as error:
        raise ArgumentError(
            f"{word!r} in {text[:80]!r} is not understood.",
            f"After the layers come {', '.join(PARTS)}; a strength from 0 to 4; {' or '.join(DIRECTIONS)}; "
            f"for patches {', '.join(SITES)}; or after “all” alpha=−1 to 3.",
        ) from error


def hybrids_from(text: str) -> tuple[Hybrid, ...]:
    """Several hybrids, one a line or between semicolons.

    Raises:
        ArgumentError: as `hybrid_from`; none, too many, or two of one name.
    """
    lines = [line for line in text.replace(";", "\n").splitlines() if line.strip()]
    found = tuple(hybrid_from(line) for line in lines)
    if not 1 <= len(found) <= MAX_HYBRIDS:
        raise ArgumentError(f"{len(found)} hybrids were given.", f"Give 1 to {MAX_HYBRIDS}.")
    names = [hybrid.name for hybrid in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentError(f"More than one hybrid is called {twice!r}.", "Give each a name of its own.")
    return found


def lane_names(hybrids: Sequence[Hybrid]) -> tuple[str, ...]:
    """The lane of each hybrid: `hybrid`, `hybrid-2`, `hybrid-3`."""
    return tuple("hybrid" if number == 1 else f"hybrid-{number}" for number in range(1, len(hybrids) + 1))


def run_lanes(pair: Pair, hybrids: Sequence[Hybrid]) -> tuple[Lane, ...]:
    """Base, the hybrids of every kind, and fine-tuned.

    Raises:
        ArgumentError: a hybrid cannot be made of this pair.
    """
    named = zip(lane_names(hybrids), hybrids, strict=True)
    return standard_lanes(pair, {name: hybrid.lane(pair, name) for name, hybrid in named})


def lane_word(lane: str, hybrids: Sequence[Hybrid]) -> str:
    """What a lane is called: Base, Fine-tuned, the hybrid's own name, or a fork's number."""
    own = dict(zip(lane_names(hybrids), hybrids, strict=True))
    if lane.startswith(_FORK):
        return f"Fork {lane.removeprefix(_FORK)}"
    return own[lane].name if lane in own else SPEAKER_WORDS[lane]


def lane_title(lane: str, hybrids: Sequence[Hybrid]) -> str:
    """The lane's name, with what makes a hybrid one."""
    own = dict(zip(lane_names(hybrids), hybrids, strict=True))
    return f"{own[lane].name} ({own[lane].described()})" if lane in own else lane_word(lane, hybrids)
