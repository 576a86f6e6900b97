"""Decoding: rows of one batch side by side, each under its own gates, scored while they are written.

Lives here: the step loop, its cache, sampling, scoring on the fly, and the worker that owns a pair's device.
Does not live here: what a gate does (core/pair) or what a score means (core/measure).
"""
