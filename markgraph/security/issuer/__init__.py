"""MARK's own token issuer, for machines that reach no identity provider."""
