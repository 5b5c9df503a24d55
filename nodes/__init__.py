"""What graphs are made of: one verb a file."""
