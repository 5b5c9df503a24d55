"""Chunks in, permitted passages out."""
