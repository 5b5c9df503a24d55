"""Evidence for a question, and support for the claims of a draft: pure functions over text and vectors."""
