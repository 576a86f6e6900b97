"""The search for layers: small sets that bring much of the fine-tune back, shares of every unit, and controls.

Knows the order of the work and what is kept of it; how sets are found, shared and controlled is written elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.errors import ArgumentError
from core.intervene.controls import Control, control_of, in_random_adapters, random_sets
from core.intervene.set_function import Progress, SetFunction, part_of
from core.intervene.sets import Unit, layers_and_part, set_name, units_of
from core.intervene.shapley import Share, draw_permutations, shapley_shares
from core.intervene.smallest import (
    Step,
    best_of,
    by_rank,
    every_set,
    greedy_backward,
    greedy_forward,
    smallest_reaching,
)
from core.pair.gates import DIRECTIONS
from core.pair.pair import Pair

METHODS = ("greedy-forward", "greedy-backward", "shapley", "exact")
RANDOM = 20


@dataclass(frozen=True)
class SearchSettings:
    """What is searched for, and how.

    Attributes:
        method: `greedy-forward`, `greedy-backward`, `shapley` (units in the order of their shares) or `exact`.
        by: what one unit is: `layer`, `part` or `projection`.
        reaches: recoveries wanted, each above 0 and at most 1.
        direction: what is grafted into what.
        permutations: for the shares; 0 for none. `shapley` needs some.
        random_sets, random_adapters: how many of each control.
        max_size: the largest set allowed; None for any. Going backward takes none.
        seed: of permutations and controls.
    """

    method: str = METHODS[0]
    by: str = "layer"
    reaches: tuple[float, ...] = (0.8,)
    direction: str = DIRECTIONS[0]
    permutations: int = 0
    random_sets: int = RANDOM
    random_adapters: int = RANDOM
    max_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ArgumentError(f"There is no search {self.method!r}.", f"Use {', '.join(METHODS)}.")
        wrong = [reach for reach in self.reaches if not 0 < reach <= 1]
        if wrong or not self.reaches:
            what = wrong[0] if wrong else "nothing"
            raise ArgumentError(f"A reach of {what} makes no sense.", "Use more than 0 and at most 1.")
        counts = (self.permutations, self.random_sets, self.random_adapters)
        if min(counts) < 0:
            raise ArgumentError(f"{min(counts)} is no number of permutations or controls.", "Use 0 or more.")
        if self.method == "shapley" and not self.permutations:
            raise ArgumentError("Shares need permutations.", "Use at least 2.")
        if self.max_size is not None and (self.max_size < 1 or self.method == "greedy-backward"):
            raise ArgumentError(
                f"At most {self.max_size} units do not go with {self.method}.", "Use 1 or more, and not backward."
            )


@dataclass(frozen=True)
class FoundSet:
    """A set of units that was found.

    Attributes:
        reach: the recovery wanted.
        reached: how many units that took; null where it was not reached, and then this is the best set tried.
        name: the set in words, as `attn 3, 7; mlp 7-9`.
        layers: the layers that have a unit in the set, in the layer grammar.
        part: which part of all these layers; `mixed` where they differ, and then only `units` has the exact set.
        units: the set.
        recovery: R of the set.
        recovery_noise: by how much that moves with numerical noise.
        smallest: true where it is known that no smaller set has this reach; null where that is not known.
        random: random sets of as many units.
        random_adapter: the same set in random adapters: the singular values of each module kept, the vectors random.
    """

    reach: float
    reached: int | None
    name: str
    layers: str
    part: str
    units: tuple[Unit, ...]
    recovery: float
    recovery_noise: float
    smallest: bool | None
    random: Control
    random_adapter: Control


@dataclass(frozen=True)
class SearchResult:
    """What a search found, or has found so far.

    Attributes:
        k_base: K(∅): mean KL of the untouched recipient from the donor, nats.
        k_noise: by how much K(∅) changes by another numerical route.
        defined: whether there is a difference to recover; where not, everything that follows is empty or null.
        n_units: how many units there were to choose from.
        sets: one for each reach.
        curve: the steps of the search.
        shapley: share of every unit; null where none were asked for.
        interaction: R of all units less the sum of R of each alone.
        forwards_equivalent: forward passes of one row that this cost, random adapters included.
    """

    k_base: float
    k_noise: float
    defined: bool
    n_units: int
    sets: tuple[FoundSet, ...]
    curve: tuple[Step, ...]
    shapley: tuple[Share, ...] | None
    interaction: float | None
    forwards_equivalent: float


def search(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    settings: SearchSettings,
    progress: Progress | None = None,
    kept: Callable[[SearchResult], None] | None = None,
) -> SearchResult:
    """Searches one text.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count; none of them 0.
        settings: what to search for.
        progress: told the share done, 0..1; may raise to stop.
        kept: given the result so far whenever there is more of it.

    Raises:
        PromptError, TooLongError: the text cannot be scored.
    """
    units = units_of(pair.n_layers, settings.by)
    function = SetFunction(pair, ids, predicted, settings.direction)
    if not function.defined:
        return _Run(function, units, settings, None, kept).result
    run = _Run(function, units, settings, progress, kept)
    if settings.permutations:
        run.share_out()
    run.find()
    run.compare_with_the_sum()
    run.control()
    return run.result


class _Run:
    """One search under way: what is known so far, and how much of the work is done."""

    def __init__(
        self,
        function: SetFunction,
        units: tuple[Unit, ...],
        settings: SearchSettings,
        progress: Progress | None,
        kept: Callable[[SearchResult], None] | None,
    ) -> None:
        self._function, self._units, self._settings = function, units, settings
        self._progress, self._kept = progress, kept
        self._other_rows = self._done = 0
        n = len(units)
        sets, adapters = (k * len(settings.reaches) for k in (settings.random_sets, settings.random_adapters))
        # Plans that each phase takes at most; a random adapter also walks its two ends.
        self._costs = {
            "shares": n * settings.permutations,
            "find": n if settings.method == "shapley" else n * (n + 1) // 2,
            "sum": n,
            "sets": sets,
            "adapters": adapters + 2 * settings.random_adapters,
        }
        self.result = SearchResult(
            function.k_base, function.k_noise, function.defined, n, (), (), None, None, function.forwards_equivalent
        )

    def share_out(self) -> None:
        """Shares of every unit."""
        orders = draw_permutations(len(self._units), self._settings.permutations, self._settings.seed)
        shapley_shares(
            self._function, self._units, orders, self._telling("shares"), lambda found: self._keep(shapley=found)
        )

    def find(self) -> None:
        """Sets that reach what was asked for; the steps are kept as they come."""
        settings, function, units = self._settings, self._function, self._units
        tell, limit = self._telling("find"), min(settings.max_size or len(units), len(units))

        def keep(steps: tuple[Step, ...]) -> None:
            self._keep(curve=steps)

        if settings.method == "greedy-forward":
            steps = greedy_forward(function, units, max(settings.reaches), limit, tell, keep)
        elif settings.method == "greedy-backward":
            steps = greedy_backward(function, units, min(settings.reaches), tell, keep)
        elif settings.method == "exact":
            steps = every_set(function, units, max(settings.reaches), limit, tell, keep)
        else:
            steps = by_rank(function, self._ranked(), limit, tell, keep)
        self._keep(sets=tuple(self._found(steps, reach) for reach in settings.reaches))

    def compare_with_the_sum(self) -> None:
        """The interaction of all units."""
        alone = [[unit] for unit in self._units]
        whole, *single = self._function.recovery([self._units, *alone], self._telling("sum"))
        self._keep(interaction=whole - sum(single))

    def control(self) -> None:
        """Random sets and random adapters beside each found set."""
        settings, found = self._settings, self.result.sets
        tell = self._telling("sets")
        for place, own in enumerate(found):
            random = random_sets(
                self._function,
                self._units,
                len(own.units),
                settings.random_sets,
                settings.seed,
                part_of(tell, place, 1, len(found)),
            )
            found = (*found[:place], replace(own, random=random), *found[place + 1 :])
            self._keep(sets=found)

        def keep(controls: tuple[Control, ...], rows: int) -> None:
            self._other_rows += rows
            self._keep(sets=tuple(replace(f, random_adapter=c) for f, c in zip(found, controls, strict=True)))

        sets = [own.units for own in found]
        in_random_adapters(
            self._function, sets, settings.random_adapters, settings.seed, self._telling("adapters"), keep
        )

    def _ranked(self) -> list[Unit]:
        shares = self.result.shapley or ()
        return [Unit(own.layer, own.part) for own in sorted(shares, key=lambda own: -own.share)]

    def _found(self, steps: Sequence[Step], reach: float) -> FoundSet:
        reaching = smallest_reaching(steps, reach)
        step = reaching or best_of(steps)
        # No set of none reaches anything, and going forward begins by trying every set of one.
        sure = {"exact": len(self._units), "greedy-forward": 2}.get(self._settings.method, 1)
        n_layers = self._function.pair.n_layers
        layers, part = layers_and_part(step.units, n_layers)
        return FoundSet(
            reach=reach,
            reached=reaching.size if reaching else None,
            name=set_name(step.units, n_layers),
            layers=layers,
            part=part,
            units=step.units,
            recovery=step.recovery,
            recovery_noise=self._function.noise(step.recovery),
            smallest=True if reaching and step.size <= sure else None,
            random=control_of([]),
            random_adapter=control_of([]),
        )

    def _telling(self, phase: str) -> Progress:
        """Progress of the next phase as progress of the whole."""
        before, self._done = self._done, self._done + self._costs[phase]
        return part_of(self._progress, before, self._costs[phase], sum(self._costs.values()))

    def _keep(self, **known: Any) -> None:
        rows = self._function.rows + self._other_rows
        self.result = replace(self.result, **known, forwards_equivalent=rows / self._function.pair.n_layers)
        if self._kept:
            self._kept(self.result)
