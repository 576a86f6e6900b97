"""Where a study's figures come from: models, hashes, versions, and the lines that recompute them.

Knows a study's record; computes nothing.
"""

import core
from core.present.provenance import Provenance, Source, Versions, provenance_line, versions
from core.study.pairs import PairFacts
from core.study.results import Results
from core.study.runner import facts_from

LIMIT = "It shows where the two models differ on these texts, not why and not which is right."


def provenance_of_facts(facts: PairFacts, seed: int, used: Versions) -> Provenance:
    """The pair and versions that measured something of a study."""
    return Provenance(
        pair=facts.pair,
        base_id=facts.base_id,
        base_sha256=facts.base_sha256,
        tuned_id=facts.tuned_id,
        tuned_sha256=facts.tuned_sha256,
        template_sha256=facts.template_sha256,
        device=facts.device,
        dtype=facts.dtype,
        adapter_dtype="float32",
        seed=seed,
        versions=used,
        noise_floor=facts.noise_floor,
    )


def provenance_of_study(results: Results) -> Provenance:
    """The pair and versions that measured a study."""
    runs = results.record["runs"]
    used = Versions(**runs[-1]["versions"]) if runs else versions()
    return provenance_of_facts(facts_from(results.record), int(results.record["settings"]["seed"]), used)


def hybrid_words(results: Results) -> str:
    """Which layers the hybrid has, as a sentence after others; empty where none wrote."""
    settings = results.record["settings"]
    if "cross" not in settings["measurements"]:
        return ""
    hybrid = settings["hybrid"].strip().lower()
    layers = f"the {hybrid} third of the layers" if hybrid in ("lower", "middle", "upper") else f"layers {hybrid}"
    return f" The hybrid is base with {layers} from the fine-tuned model."


def source_of_study(results: Results) -> Source:
    """What every figure of a study says of where it comes from."""
    found = provenance_of_study(results)
    corpora = ", ".join(f"{one['name']} ({one['rows']} rows)" for one in results.record["corpora"])
    settings = results.record["settings_sha256"][:12]
    line = f"Study of {corpora}, settings {settings}, drawn by graft {core.__version__}. {provenance_line(found)}"
    return Source(str(found.pair), line, "")
