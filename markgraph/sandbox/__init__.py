"""What tools may touch of the world: a folder, some hosts, a database to read, a small interpreter.

Arguments come from a model, and so perhaps from somebody's document. Nothing here trusts them.
"""
