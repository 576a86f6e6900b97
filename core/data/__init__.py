"""Data files and data sets of the hub as records, for whoever makes rows of them.

Lives here: where data lies, how that is typed, how records are read, and what their fields may hold.
Does not live here: what a row is for (core/train, core/study).
"""
