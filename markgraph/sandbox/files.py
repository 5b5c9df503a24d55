"""Reads and writes files below one folder, and nothing else.

The kernel holds each path in the folder (`openat2` with `RESOLVE_BENEATH`, Linux 5.6). Where it can't, each
folder on the way is opened by itself and a link refused: whoever changes the tree meanwhile gains nothing.
"""

import ctypes
import errno
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markgraph.errors import SandboxError

OPENAT2 = 437
"""The number of the system call, the same on x86-64 and arm64."""
_BENEATH_WITHOUT_LINKS = 0x08 | 0x04 | 0x02
"""RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_LONGEST = 1024


@dataclass(frozen=True)
class FileJail:
    """Files below `root`. Links are refused, wherever they lead, and so is what is no plain file.

    Does NOT hide from one tool what another one wrote there: give each owner a folder.
    """

    root: Path
    """A folder that is there, by a path that only trusted people decide on."""
    max_bytes: int = 1 << 20
    """How large a file may be that is read or written."""

    def read(self, path: str) -> bytes:
        """Return what is in the file at `path`, relative to the root, with `/` between its parts.

        Raises:
            SandboxError: the path leads outside or to no plain file, or the file is too large.
        """
        with self._root() as root, _errors(path):
            descriptor = open_beneath(root, _parts(path), os.O_RDONLY | os.O_NONBLOCK)
            try:
                _check_plain(os.fstat(descriptor), path)
                data = _read(descriptor, self.max_bytes + 1)
            finally:
                os.close(descriptor)
        self._check_size(len(data), path)
        return data

    def write(self, path: str, data: bytes) -> None:
        """Make `data` the content of the file at `path`, whole or not at all; folders on the way are made.

        Raises:
            SandboxError: the path leads outside, a folder or a link is there, or `data` is too large.
        """
        self._check_size(len(data), path)
        *folders, name = _parts(path)
        with self._root() as root, _errors(path), _folder(root, folders, make=True) as folder:
            _check_replaceable(folder, name, path)
            draft = f".{secrets.token_hex(8)}.part"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with open(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)
                raise

    def _check_size(self, size: int, path: str) -> None:
        if size > self.max_bytes:
            raise SandboxError(f"{path!r} is larger than the {self.max_bytes:,} bytes that are allowed.")

    @contextmanager
    def _root(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.root, _FOLDER | os.O_CLOEXEC)
        except OSError as error:
            raise SandboxError(f"There is no folder {self.root}: {error.strerror}. Make it.") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def open_beneath(root: int, parts: list[str], flags: int) -> int:
    """Return a descriptor of what lies at `parts` below the folder `root`, no link on the way.

    Raises:
        OSError: there is no such thing, or a link.
    """
    try:
        return _openat2(root, "/".join(parts), flags)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):  # an old kernel; a container that forbids it
            raise
    return walk_beneath(root, parts, flags)


def walk_beneath(root: int, parts: list[str], flags: int) -> int:
    """Do the same without the kernel's help, part by part.

    Raises:
        OSError: there is no such thing, or a link.
    """
    *folders, name = parts
    with _folder(root, folders) as folder:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


@contextmanager
def _folder(root: int, parts: list[str], *, make: bool = False) -> Iterator[int]:
    """Hold the folder at `parts` below `root`, made where there is none if `make` says so."""
    here = os.dup(root)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=here)
            further = os.open(part, _FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = further
        yield here
    finally:
        os.close(here)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _openat2(root: int, path: str, flags: int) -> int:
    how = struct.pack("QQQ", flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _BENEATH_WITHOUT_LINKS)
    descriptor: int = _libc().syscall(OPENAT2, root, os.fsencode(path), how, len(how))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return descriptor


def _parts(path: str) -> list[str]:
    """Return the parts of a relative path.

    Raises:
        SandboxError: it is absolute, goes upwards, or holds what no honest name has.
    """
    parts = path.split("/")
    wrong = not path or len(path) > _LONGEST or not path.isprintable() or "\\" in path
    if wrong or any(part in ("", ".", "..") for part in parts):
        raise SandboxError(
            f"{path[:100]!r} is no path below the folder. Allowed: names with / between them, without .. and "
            f"control characters, at most {_LONGEST} characters."
        )
    return parts


def _read(descriptor: int, size: int) -> bytes:
    """Return at most `size` bytes."""
    pieces = []
    while size and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _check_plain(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # a second name may be outside
        raise SandboxError(f"{path!r} is no plain file with one name. Allowed: those only.")


def _check_replaceable(folder: int, name: str, path: str) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise SandboxError(f"{path!r} is there, and no plain file. Choose another name.")


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Say what went wrong without saying what lies outside."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no valid name"
        if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            reason = "a link, or a file where a folder should be"
        raise SandboxError(f"Could not use {path!r}: {reason}.") from error
