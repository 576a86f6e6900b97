"""Numbers from distributions: divergences, token scores, their summaries and their noise.

Lives here: every metric, exactly once, with its definition and unit.
Does not live here: how logits come about (core/pair, core/generate) or how numbers are drawn (core/present).
"""
