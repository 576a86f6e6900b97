"""Interventions: which layers make a difference, by grafting many sets of layers on one text.

Plans, the walk that shares their common beginnings, recovery, attribution by gradients. No widgets, no charts.
"""
