"""LoRA fine-tuning of a pair's base on question–answer rows.

Lives here: rows, their rendering with a loss mask, the training run and the held-out loss.
Does not live here: how a finished adapter is loaded and compared (core/pair, core/measure).
"""
