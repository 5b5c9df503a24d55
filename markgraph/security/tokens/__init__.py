"""Bearer tokens: signed ones, opaque ones, and API keys, each turned into a `Caller` or refused."""
