"""What the two models are: registry, files, loading, gates, prompts and chat templates.

Lives here: everything needed to hold base and fine-tuned model once on a device and run a forward pass.
Does not live here: numbers computed from what a forward pass returns (core/measure), decoding (core/generate).
"""
