"""Graft's core: pairs, gates, numbers, generation and training; no page code lives here."""
