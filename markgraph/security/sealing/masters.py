"""Keeps the master keys, which only wrap the keys of tenants, in a file that nobody but its owner reads."""

import base64
import binascii
import json
import os
import secrets
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from markgraph.errors import SealError

KEY_BYTES = 32


@dataclass(frozen=True)
class Masters:
    """A JSON object of key ids and their keys in base64; the last one wraps, all of them unwrap."""

    file: Path

    def read(self) -> dict[str, bytes]:
        """Return the keys by id.

        Raises:
            SealError: there is no such file, others may read it, or it holds something else.
        """
        try:
            mode = stat.S_IMODE(self.file.stat().st_mode)
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            raise SealError(
                f"There is no keyring {self.file}. Where nothing was sealed yet, make one with "
                "`markgraph keys rotate seal=keyring`; otherwise restore it: without it nothing opens. "
                "MARKGRAPH_KEYRING names another place."
            ) from None
        except OSError as error:
            raise SealError(f"The keyring {self.file} can't be read: {error.strerror}.") from error
        if mode & 0o077:
            raise SealError(
                f"The keyring {self.file} has mode {mode:04o}: others can read or change it. Allowed: 0600. "
                f"Run chmod 600 {self.file}, then `markgraph keys rotate` and `reseal`, if anybody did."
            )
        return self._parsed(text)

    def add(self) -> str:
        """Make another key, which wraps from now on, and return its id."""
        keys = self.read() if self.file.exists() else {}
        kid = f"m{1 + max((int(each[1:]) for each in keys), default=0)}"
        self._write(keys | {kid: secrets.token_bytes(KEY_BYTES)})
        return kid

    def drop(self, kids: Collection[str]) -> None:
        """Forget these keys."""
        self._write({kid: key for kid, key in self.read().items() if kid not in kids})

    def _parsed(self, text: str) -> dict[str, bytes]:
        try:
            keys = {str(kid): base64.b64decode(key, validate=True) for kid, key in json.loads(text).items()}
        except (ValueError, AttributeError, TypeError, binascii.Error):
            keys = {}
        if not keys or any(len(key) != KEY_BYTES or not _is_id(kid) for kid, key in keys.items()):
            raise SealError(
                f"{self.file} is no keyring. Allowed: a JSON object of ids and keys of {KEY_BYTES} bytes in "
                'base64, such as {"m1": "..."}. Restore it.'
            )
        return keys

    def _write(self, keys: dict[str, bytes]) -> None:
        """Replace the file in one step, which outlasts a power cut; nobody else may ever read it."""
        text = json.dumps({kid: base64.b64encode(key).decode() for kid, key in keys.items()}, indent=1)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self.file.with_name(f"{self.file.name}.{secrets.token_hex(4)}.new")
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(handle)
            new.replace(self.file)
            folder = os.open(self.file.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            raise SealError(f"The keyring {self.file} can't be written: {error.strerror}.") from error


def _is_id(kid: str) -> bool:
    return kid[:1] == "m" and kid[1:].isdecimal()
