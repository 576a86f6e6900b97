"""Speed and memory, measured against named alternatives; results lie in `results/`."""
