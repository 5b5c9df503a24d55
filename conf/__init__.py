"""Hydra config groups; each file opens with the command that uses it."""
