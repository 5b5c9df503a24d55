"""Which passage cites which: references found in text, kept as edges, followed by retrieval."""
