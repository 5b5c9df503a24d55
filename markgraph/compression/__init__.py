"""Fits passages and earlier turns into a budget of tokens."""
