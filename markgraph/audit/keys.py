"""The two keys of an audit log: a secret one that chains records, and one that signs how far they go."""

import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markgraph.errors import StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CHAIN, SIGNING, PUBLIC = "chain.key", "signing.key", "signing.pub"
BYTES = 32
HASH = "sha256"


@dataclass(frozen=True)
class Keys:
    """The keys in a folder. Whoever can read it can write a log that nobody could tell from this one."""

    folder: Path

    def make(self) -> None:
        """Make the keys, unless they are there."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if (self.folder / PUBLIC).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        signing = Ed25519PrivateKey.generate()
        _create(self.folder / CHAIN, os.urandom(BYTES))
        _create(self.folder / SIGNING, signing.private_bytes_raw())
        _create(self.folder / PUBLIC, signing.public_key().public_bytes_raw())  # last: now they are complete

    def chain(self) -> bytes:
        """Return the secret that records are chained with.

        Raises:
            StorageError: it is not there.
        """
        return _read(self.folder / CHAIN)

    def words(self) -> bytes:
        """Return the secret that questions and answers are hashed with.

        Raises:
            StorageError: it is not there.
        """
        return hmac.digest(self.chain(), b"markgraph audit words", HASH)

    def signing(self) -> "Ed25519PrivateKey":
        """Return the key that signs.

        Raises:
            StorageError: it is not there.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(_read(self.folder / SIGNING))

    def public(self) -> "Ed25519PublicKey":
        """Return the key that checks signatures.

        Raises:
            StorageError: it is not there.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(_read(self.folder / PUBLIC))


def _create(place: Path, content: bytes) -> None:
    """Write a file that only its owner may read; one that a killed process left half made is replaced."""
    draft = place.with_suffix(".part")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(content.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(place)


def _read(place: Path) -> bytes:
    try:
        key = bytes.fromhex(place.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise StorageError(f"The audit log's key {place} can't be read: {error}.") from error
    if len(key) != BYTES:
        raise StorageError(f"The audit log's key {place} has {len(key)} bytes; allowed: {BYTES}.")
    return key
