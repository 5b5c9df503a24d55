"""Who did what: a log that can't be changed without its being found."""
