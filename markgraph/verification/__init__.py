"""Proves on compiled graphs that no run can break the policy: authorized, approved, validated, nothing leaked."""
