"""Doors: each turns a verified request into a `Caller`, and hands it to a compiled graph."""
