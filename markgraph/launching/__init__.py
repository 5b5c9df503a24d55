"""Sweeps: many runs of a verb, each a process of its own, on this machine, a Ray cluster or SLURM."""
