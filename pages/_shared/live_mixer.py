"""The live mixer: toggle layers, see at once how much of the fine-tune a hybrid has, and where in the text.

Nothing is decoded here: the answer stands, the hybrid predicts each of its tokens. Knows widgets and the worker.
"""

from dataclasses import replace
from functools import partial

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.mixer import Mixed, Mixer
from core.intervene.plans import Plan
from core.measure.tokens import TokenScore, token_scores
from core.measure.units import Unit, units
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.present.colour import mark_of
from core.present.hybrids import Hybrid, lane_names
from core.present.strip import display_texts, unit_strip
from core.present.texts import two_digits
from pages._shared.components import token_lanes
from pages._shared.frame import escaped
from pages._shared.layer_text import LayerText
from pages._shared.legend import draw_legend
from pages._shared.mixer import draw_mixer
from pages._shared.tasks import compute

NO_DIFFERENCE = "The two models do not differ on this text beyond numerical noise: no difference to recover."


def draw_live_mixer(worker: Worker, page: str, chosen: LayerText) -> None:
    """The mixer of the Ask page, and what its first hybrids do to the text at hand."""
    hybrids = draw_mixer(worker.pair.n_layers)
    if hybrids is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("The same hybrids as on the Ask page. Here nothing is written: the text stands.", width="content")
        st.page_link("app.py", label="Read what they write", icon=":material/arrow_forward:", width="content")
    marks = [mark_of(lane) for lane in lane_names(hybrids)]
    for number, (mark, hybrid) in enumerate(zip(marks, hybrids, strict=True)):
        if hybrid.kind != "graft":
            st.markdown(f"**{mark} {escaped(hybrid.name)}**: {escaped(hybrid.described())}")
            st.caption("Only grafted layers can be measured here; what this hybrid writes stands on the Ask page.")
            continue
        identity = (chosen.ids, chosen.predicted, hybrid.direction)
        prepare = partial(_prepare, chosen, hybrid.direction)
        mixer = compute(worker, f"mixer {hybrid.direction}", page, identity, prepare, "Running both models")
        if mixer is None:
            return
        mixed = compute(
            worker, f"mixed {number}", page, (identity, hybrid), partial(_mix, mixer, hybrid), "Running the hybrid"
        )
        if mixed is not None:
            _draw(worker.pair, chosen, mixer, mixed, hybrid, mark, lane_names(hybrids)[number])


def _prepare(chosen: LayerText, direction: str, pair: Pair, progress: Progress) -> Mixer:
    return Mixer(pair, chosen.ids, chosen.predicted, direction)


def _mix(mixer: Mixer, hybrid: Hybrid, pair: Pair, progress: Progress) -> Mixed:
    plan = Plan(hybrid.name, hybrid.layers, hybrid.part, hybrid.direction)
    return mixer.mix(plan, hybrid.gates(pair.n_layers))


def _draw(pair: Pair, chosen: LayerText, mixer: Mixer, mixed: Mixed, hybrid: Hybrid, mark: str, lane: str) -> None:
    donor, host = ("tuned", "base") if hybrid.direction == "tuned-into-base" else ("base", "tuned")
    found = mixed.result
    st.markdown(f"**{mark} {hybrid.name}**: {hybrid.described()}")
    if not mixer.defined:
        st.write(NO_DIFFERENCE)
        return
    names = {"tuned": "fine-tuned", "base": "base"}
    with st.container(horizontal=True):
        st.metric(
            "recovery", two_digits(_beyond_noise(found.recovery, found.recovery_noise)), width="content",
            help="0 is the model it starts from, 1 the one its layers come from",
        )  # fmt: skip
        st.metric(f"KL({donor}‖hybrid), nats a token", two_digits(found.k), width="content")
        st.metric(f"KL({donor}‖{host}), nats a token", two_digits(mixer.k_base), width="content")
        st.metric("logit-difference recovery", two_digits(found.logit_difference_recovery), width="content")
    st.caption(
        f"± {two_digits(found.recovery_noise)} by numerical noise. What is left to the {names[donor]} model, token by "
        f"token: on the left before, on the right with these layers. Nothing was written anew."
    )
    before = _strip(pair, chosen, mixer.kl_base, donor, mixer.k_noise, host, f"{names[host].capitalize()}", "before")
    after = _strip(pair, chosen, mixed.kl, donor, mixer.k_noise, lane, hybrid.name, "with these layers")
    token_lanes([before, after], key=f"mixed-{lane}")
    draw_legend(mixer.k_noise, f"kl_{donor}_hybrid", parted=False, key=f"legend-{lane}")


def _beyond_noise(recovery: float | None, noise: float | None) -> float | None:
    """The recovery, or 0 where it does not differ from 0 beyond noise."""
    return 0.0 if recovery is not None and abs(recovery) <= (noise or 0.0) else recovery


def _strip(
    pair: Pair, chosen: LayerText, kl: tuple[float, ...], donor: str, noise: float, lane: str, title: str, note: str
) -> dict[str, object]:
    """The answer coloured by its distance from the donor."""
    values = dict(zip(chosen.predicted, kl, strict=True))
    tokens: list[TokenScore] = [
        replace(token, kl_tuned_base=values.get(token.pos))
        for token in token_scores(pair.prompts, chosen.ids, chosen.parts, None, 1)
    ]
    if "prompt" not in MASKS[chosen.mask]:
        tokens = tokens[chosen.n_prompt :]
    metric = f"kl_{donor}_hybrid"
    cut = units(tokens, display_texts([bytes.fromhex(token.bytes) for token in tokens]), "token")
    found: list[Unit] = [replace(unit, values={metric: unit.values["kl_tuned_base"]}) for unit in cut]
    return unit_strip(lane, title, found, metric, noise, MASKS[chosen.mask], note)
