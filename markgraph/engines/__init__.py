"""What computes the tokens of a chat model, on this machine: one port, several engines."""
