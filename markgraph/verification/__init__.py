"""Proves on compiled graphs that no run can break the policy."""
