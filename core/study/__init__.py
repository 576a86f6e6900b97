"""A study over many prompts: its tables, the tests made on them, and the findings that can say yes or no.

Lives here: statistics over documents, and the rules by which a claim is supported or not.
Does not live here: how a single number is measured (core/measure, core/intervene) or shown (core/present).
"""
