"""Benchmarks that measure MARK beside its rivals, in one run."""
