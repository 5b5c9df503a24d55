"""Seals bytes with AES-256-GCM under keys from a file, so that who gets at a disk learns nothing from it.

The key file is JSON, `{"KEY_ID": "32 bytes in base64", ...}`, readable by its owner alone. The last key
seals, all of them open: a new one is appended to rotate, an old one removed to retire what it sealed.
"""

import base64
import binascii
import hmac
import json
import os
import secrets
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from markgraph.errors import StorageError

_KEY_BYTES, _NONCE_BYTES, _NAME_BYTES = 32, 12, 16


class SealBrokenError(StorageError):
    """What was to be opened is damaged, or was sealed with another key or as something else."""


@dataclass(frozen=True)
class Keyring:
    """Master keys by id, the one that seals last."""

    keys: Mapping[str, bytes]

    @classmethod
    def open(cls, path: Path) -> "Keyring":
        """Read the keys at `path`; make a file with one random key if there is none.

        Raises:
            StorageError: the file can't be made or read, is open to others, or is not a key file.
        """
        try:
            if not path.exists():
                _make(path)
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text("utf-8")
        except OSError as error:
            raise StorageError(
                f"The key file {path} can't be used: {error.strerror}. Sealed states need it: make "
                "its folder writable, or leave out state_cache."
            ) from error
        if mode & 0o077:
            raise StorageError(
                f"The key file {path} has mode {mode:04o}: others can read it. Allowed: 0600. If nobody did, "
                f"run chmod 600 {path}; otherwise delete it and the sealed states."
            )
        return cls(_parsed(text, path))

    @property
    def newest_first(self) -> list[str]:
        """Return the ids of the keys, that of the one that seals first."""
        return list(self.keys)[::-1]

    def seal(self, key_id: str, purpose: str) -> "Seal":
        """Return the seal for `purpose` under one key; those for other purposes don't open what it closes."""
        derived = HKDF(SHA256(), 2 * _KEY_BYTES, salt=None, info=purpose.encode()).derive(self.keys[key_id])
        return Seal(AESGCM(derived[:_KEY_BYTES]), derived[_KEY_BYTES:])


@dataclass(frozen=True)
class Seal:
    """Encrypts, and names what it encrypts, with keys of one purpose (HKDF, RFC 5869)."""

    cipher: AESGCM
    naming: bytes
    """Key for names: 32 bytes."""

    def name(self, *parts: bytes) -> str:
        """Return a name for `parts`, 32 hexadecimal digits; without the key it tells nothing about them."""
        return hmac.digest(self.naming, _joined(parts), "sha256")[:_NAME_BYTES].hex()

    def close(self, plain: bytes, *bound: bytes) -> bytes:
        """Return `plain` sealed; it opens only together with the same `bound`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, plain, _joined(bound))

    def open(self, sealed: bytes, *bound: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            SealBrokenError: a byte of it or of `bound` is not as it was, or the key is not the one.
        """
        view = memoryview(sealed)
        try:
            return self.cipher.decrypt(view[:_NONCE_BYTES], view[_NONCE_BYTES:], _joined(bound))
        except (InvalidTag, ValueError) as error:
            raise SealBrokenError(
                f"{len(sealed)} sealed bytes don't open: they are damaged, or were sealed with another key."
            ) from error


def _joined(parts: tuple[bytes, ...]) -> bytes:
    """Return `parts` with their lengths, so that no two lists of parts look alike."""
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _make(path: Path) -> None:
    """Write a file with one new key; of two processes that do so at once, one's file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(json.dumps({secrets.token_hex(4): key}) + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return
    finally:
        part.unlink()


def _parsed(text: str, path: Path) -> dict[str, bytes]:
    try:
        keys = {str(name): base64.b64decode(key, validate=True) for name, key in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, binascii.Error):
        keys = {}
    if not keys or any(len(key) != _KEY_BYTES or not name.isalnum() for name, key in keys.items()):
        raise StorageError(
            f"{path} is not a key file. Allowed: JSON with key ids (letters and digits) and their keys "
            '(32 bytes in base64), for example {"k1": "..."}. Restore it, or delete it and the sealed states.'
        )
    return keys
