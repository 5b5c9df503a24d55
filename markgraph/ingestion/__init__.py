"""From a corpus to chunks in an index, again and again, touching only what changed."""
