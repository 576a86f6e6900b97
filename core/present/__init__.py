"""Results as a person or a program receives them: reports, provenance, tables, colours.

Lives here: what leaves the core, in one form for page, command line and file.
Does not live here: computing anything (core/measure, core/generate) or drawing widgets (pages).
"""
