"""A study: base and fine-tuned model over many prompts of several corpora, and what follows from it.

Lives here: corpora, runner, store, tables, statistics over documents, and findings that can say yes or no.
Does not live here: what is measured on one prompt (core/measure, core/intervene), charts and pages.
"""
