"""Deletes what models have learned from a tenant whose keys are shredded."""

from markgraph.models.merge import forget
from markgraph.models.registry import Registry


def shred(registry: Registry, tenant: str) -> list[str]:
    """Delete the weights of all that a tenant registered, in service or not; the cards stay, with a note.

    Returns:
        NAME@VERSION of each whose weights were there.

    Raises:
        StorageError: they can't be deleted.
    """
    registry.note_shredded(tenant)
    done = []
    for found in [each for name in registry.names() for each in registry.versions(name)]:
        weights = registry.folder / found.name / str(found.version) / "weights"
        if found.card.tenant == tenant and weights.is_dir():
            registry.retire(found.name, found.version, in_service=True)
            forget(weights)
            done.append(f"{found.name}@{found.version}")
    return done
