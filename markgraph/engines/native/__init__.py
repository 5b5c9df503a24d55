"""The engine of our own, in plain torch: Transformers of the Llama kind, Mamba and Mamba-2."""
