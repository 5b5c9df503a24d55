"""Scores of retrieval and answers over data sets, with their uncertainty."""
