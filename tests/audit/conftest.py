"""The collection that the graphs' tests have, too."""

from tests.graphs.conftest import embedder, folder, index

__all__ = ["embedder", "folder", "index"]
