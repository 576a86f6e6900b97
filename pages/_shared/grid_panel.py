"""The patch grid on a page: a gradient at once, then every cell exactly, filling in while it runs.

Knows what to ask the worker for, and how to draw it; patches nothing itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.grid import Cell, PatchGrid, grid
from core.intervene.integrated import Integrated, integrate_k
from core.intervene.patch import SITES, WHOLE_RESIDUAL
from core.measure.ranks import rank_correlation
from core.pair.pair import Pair
from core.present.charts import Rows, clear
from core.present.hybrids import SITE_WORDS
from core.present.provenance import Source, source_of
from core.present.set_charts import cell_rows, grid_chart, grid_end, grid_scale
from core.present.texts import two_digits
from pages._shared.exports import draw_figure
from pages._shared.layer_text import LayerText
from pages._shared.live_mixer import NO_DIFFERENCE
from pages._shared.tasks import compute
from pages._shared.texts import DIRECTION_WORDS, choose_direction

_SITES = {site: f"{SITE_WORDS[site]} ({site})" for site in SITES}
WHOLE = "the whole part of the text chosen above"
WHY_CURVE = (
    "Copying the whole residual stream at all positions is exactly the same as grafting every layer up to there; it "
    "would show the upper layers as decisive in any pair. As a curve it stands under “Layer by layer”. Here one "
    "position is replaced at a time, which says where in the text a layer's change has come to lie."
)


@dataclass(frozen=True)
class _Asked:
    """One grid: what is replaced, where, and what it is held against."""

    ids: tuple[int, ...]
    predicted: tuple[int, ...]
    positions: tuple[int, ...]
    site: str
    direction: str


@dataclass(frozen=True)
class _Drawing:
    """What every picture of one grid shares."""

    asked: _Asked
    layers: tuple[int, ...]
    texts: dict[int, str]
    title: str

    @property
    def target(self) -> str:
        """What is held against what, in words."""
        predicted = self.asked.predicted
        if len(predicted) == 1:
            return f"effect on token {predicted[0]}, “{self.texts[predicted[0]].strip() or '␣'}”"
        return f"effect on {len(predicted)} predictions, mean KL"

    @property
    def scale(self) -> str:
        """What the colours span."""
        return grid_scale(len(self.asked.predicted))

    def chart(self, value: str, cells: tuple[Cell, ...]) -> Any:
        """The cells there are, on the axes of all."""
        return self._drawer(value)(cell_rows(cells, self.texts, value))

    def _drawer(self, value: str) -> Callable[[Rows], Any]:
        end = grid_end(len(self.asked.predicted))
        return partial(grid_chart, value=value, layers=self.layers, positions=self.asked.positions, end=end)

    def figure(self, source: Source, value: str, cells: tuple[Cell, ...], legend: str, noise: str, slug: str) -> None:
        """A grid with its downloads."""
        rows = cell_rows(cells, self.texts, value)
        draw_figure(
            source, f"{self.title}, {slug}", legend, noise, f"grid-{self.asked.site}-{slug}", rows, self._drawer(value)
        )


def draw_grid(worker: Worker, page: str, chosen: LayerText) -> None:
    """Settings, the quick grid, and the exact one once it is asked for."""
    texts = {pos: piece.text for pos, piece in enumerate(worker.pair.prompts.pieces(chosen.ids))}
    asked = _settings(chosen, texts)
    if asked.site in WHOLE_RESIDUAL:
        st.caption(WHY_CURVE)
    quick_id = (asked.ids, asked.predicted, asked.direction)
    quick = compute(worker, "grid quick", page, quick_id, partial(_quick, asked), "Following gradients")
    if quick is None:
        return
    drawing = _Drawing(asked, tuple(range(worker.pair.n_layers)), texts, f"{chosen.label}: {_SITES[asked.site]}")
    source, estimates = source_of(worker.pair, chosen.question), _estimates(quick, drawing)
    _draw_quick(quick, estimates, drawing, source)
    st.markdown("**Exactly**: one patch a cell")
    if st.session_state.get("grid_asked") != asked:
        cells = len(estimates)
        st.caption(f"{cells:,} patches, for about an eighth to a third of the work of as many forward passes.")
        if st.button("Compute every cell", type="primary", key="grid_go"):
            st.session_state["grid_asked"] = asked
            st.rerun()
        return
    work, words = partial(_grid, asked, drawing.layers), "Patching, position by position"
    found = compute(worker, "grid", page, asked, work, words, partial(_draw_so_far, drawing, estimates))
    if found is not None:
        _draw_exact(found, estimates, drawing, source)


def _draw_quick(quick: Integrated, estimates: tuple[Cell, ...], drawing: _Drawing, source: Source) -> None:
    st.markdown("**At a glance**: gradients")
    start = DIRECTION_WORDS[drawing.asked.direction].split(" into ")[1]
    legend = (
        f"Share of K(∅) = {two_digits(quick.k_recipient)} nats that the gates at each layer and token account for, "
        f"integrated from {start} in six steps; {drawing.target}; {drawing.scale}."
    )
    missed = f"{quick.completeness_error or 0.0:.2%}"
    noise = f"All gates together miss the whole change by {missed}. It orders cells and is no patch."
    drawing.figure(source, "attribution", estimates, legend, noise, "gradients")
    st.caption(f"{legend} {noise}")


def _draw_exact(found: PatchGrid, estimates: tuple[Cell, ...], drawing: _Drawing, source: Source) -> None:
    if all(cell.kl_recovery is None for cell in found.cells):
        st.write(NO_DIFFERENCE)
        return
    value = "kl_recovery"
    if found.gained_id is not None:
        value = st.segmented_control(
            "measured by", [value, "logit_difference_recovery"], key="grid_value", required=True, default=value,
            format_func=lambda name: name.replace("_", " "),
        ) or value  # fmt: skip
    donor = DIRECTION_WORDS[drawing.asked.direction].split(" into ")[0]
    legend = (
        f"Recovery when the {donor} model's activation is put in at one layer and token; {drawing.target}; K(∅) = "
        f"{two_digits(found.k_base)} nats; blank where a patch cannot reach the target; {drawing.scale}."
    )
    noise = f"± {two_digits(found.k_noise / found.k_base)} by numerical noise."
    drawing.figure(source, value, found.cells, legend, noise, "patches")
    st.caption(f"{legend} {noise} {_agreement(found.cells, estimates)}")


def _draw_so_far(drawing: _Drawing, estimates: tuple[Cell, ...], cells: tuple[Cell, ...]) -> None:
    """What is there of the exact grid while it runs."""
    st.altair_chart(clear(drawing.chart("kl_recovery", cells)), theme=None)
    st.caption(_agreement(cells, estimates))


def _agreement(cells: tuple[Cell, ...], estimates: tuple[Cell, ...]) -> str:
    """How well the gradients ordered the cells there are."""
    quick = {(cell.layer, cell.pos): cell.attribution for cell in estimates}
    both = [
        (cell.kl_recovery, guess)
        for cell in cells
        if cell.kl_recovery is not None and (guess := quick.get((cell.layer, cell.pos))) is not None
    ]
    order = rank_correlation([exact for exact, _ in both], [guess for _, guess in both]) if len(both) > 2 else None
    return f"Rank correlation of the gradients with the {len(both):,} cells computed: {two_digits(order)}."


def _settings(chosen: LayerText, texts: dict[int, str]) -> _Asked:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        site = st.selectbox(
            "what is replaced", list(_SITES), index=4, format_func=_SITES.__getitem__, key="grid_site", width=280
        )
        target = st.selectbox(
            "effect on", [WHOLE, *chosen.predicted], key="grid_target", width=260,
            format_func=lambda pos: pos if pos == WHOLE else f"token {pos}: {texts[pos].strip() or '␣'}",
        )  # fmt: skip
        everywhere = st.toggle(
            "question too", key="grid_everywhere", help="Patches in the question as well; takes longer."
        )
        direction = choose_direction("grid_direction")
    predicted = chosen.predicted if target == WHOLE else (int(target),)
    first = 0 if everywhere else chosen.n_prompt - 1
    return _Asked(chosen.ids, predicted, tuple(range(first, max(predicted))), site, direction)


def _quick(asked: _Asked, pair: Pair, progress: Progress) -> Integrated:
    return integrate_k(pair, asked.ids, asked.predicted, asked.direction, progress=progress)


def _grid(asked: _Asked, layers: tuple[int, ...], pair: Pair, progress: Progress) -> PatchGrid:
    cells: list[Cell] = []

    def tell(share: float) -> None:
        progress(share, tuple(cells))

    return grid(
        pair, asked.ids, asked.predicted, asked.site, layers, asked.positions, asked.direction, tell, cells.extend
    )


def _estimates(quick: Integrated, drawing: _Drawing) -> tuple[Cell, ...]:
    values = quick.at_site(drawing.asked.site)
    return tuple(
        Cell(layer, pos, attribution=float(values[layer, pos]))
        for layer in drawing.layers
        for pos in drawing.asked.positions
    )
