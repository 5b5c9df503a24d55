"""Graphs: each file makes nodes, draws edges, and compiles."""
