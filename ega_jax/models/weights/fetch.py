"""Finds a published file of weights: in an installed package, in the cache, or at its address.

The cache is `~/.cache/ega_jax`, or the folder that the environment variable `EGA_JAX_CACHE` names;
weights lie in its folder `weights`, under their published names. Wherever a file comes from, it is
used only if its SHA-256 is the published one.

The standard library fetches: what is asked of it (a range of one file, redirects, the proxies of
the environment) it has, and no other package has to be there.
"""

import contextlib
import fcntl
import hashlib
import http.client
import importlib.util
import logging
import os
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from ega_jax.models.weights.files import WeightFileError
from ega_jax.models.weights.official import OFFICIAL, Official
from ega_jax.runtime.home import VARIABLE, home

logger = logging.getLogger(__name__)

AUTO = "auto"  # what stands for the official file where a file's path is asked for

_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 3  # in a row that bring nothing
_PAUSE = 1.0  # seconds before the second attempt, twice as many before the third, ...
_REPORT_EVERY = 5.0  # seconds
_CHUNK = 1 << 20


def official_file(model: str) -> pathlib.Path:
    """Returns the path of a network's published weights; fetches them if they are not here yet.

    Args:
      model: a key of `OFFICIAL`.

    Raises:
      WeightFileError: the file is nowhere and cannot be fetched, or is not the published one.
    """
    official = OFFICIAL[model]
    cached = home() / "weights" / official.file
    for path in filter(None, (_in_package(official), cached)):
        if path.is_file():
            digest = sha256(path)
            if digest.startswith(official.sha256):
                return path
            raise WeightFileError(
                f"{path} is damaged or another file: its SHA-256 begins with {digest[:8]}, not "
                f"{official.sha256[:8]}; delete it, or install its package again"
            )
    download(official, cached)
    return cached


def download(official: Official, target: pathlib.Path) -> None:
    """Fetches a file to `target`, which is whole and checked as soon as it exists.

    What has come lies beside it as `<name>.part`. Later attempts, and later calls, go on from
    there. Of several processes one fetches and holds a lock on the folder; the others wait for it.

    Args:
      official: the file.
      target: where to put it; its folder is created.

    Raises:
      WeightFileError: it cannot be fetched or written, or is not the published one.
    """
    if not official.url:
        raise WeightFileError(f"{official.file} is not here; {_by_hand(official, target)}")
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent):
            if target.exists():
                return  # another process was faster
            logger.info("Fetching %s to %s.", official.url, target)
            for _ in range(2):
                goes_on = part.exists()
                _fetch_all(official, target, part)
                digest = sha256(part)
                if digest.startswith(official.sha256):
                    part.replace(target)
                    return
                part.unlink()
                if not goes_on:  # else its beginning may be to blame, and is fetched again
                    break
    except OSError as error:
        raise WeightFileError(
            f"cannot write {part}: {error.strerror or error}; another folder can be set by the "
            f"environment variable {VARIABLE}"
        ) from error
    raise WeightFileError(
        f"{official.url} gave another file than the published one: its SHA-256 begins with "
        f"{digest[:8]}, not {official.sha256[:8]}. It was deleted; {_by_hand(official, target)}"
    )


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Waits until no other process fetches into a folder, and leaves nothing in it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which releases the lock


def sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_package(official: Official) -> pathlib.Path | None:
    """Returns where the file would lie in its package, which is not imported; None: not there."""
    if not official.inside:
        return None
    package, *folders = official.inside
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return pathlib.Path(spec.submodule_search_locations[0], *folders, official.file)


def _by_hand(official: Official, target: pathlib.Path) -> str:
    """Says what a person can do where the program cannot fetch."""
    install = f"call pip install {official.package}, or " if official.package else ""
    return (
        f"{install}put {official.file} (SHA-256 {official.sha256[:8]}…) at {target}, or give its "
        "path instead of auto"
    )


class _Unreadable(Exception):
    """The server did not give what was asked for; another attempt may."""


def _fetch_all(official: Official, target: pathlib.Path, part: pathlib.Path) -> None:
    """Goes on until the file is whole, or several attempts in a row bring nothing."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _fetch(official.url, part, before)
        except _Unreadable as error:
            came = part.stat().st_size if part.exists() else 0
            failures = 0 if came > before else failures + 1
            refused = getattr(error.__cause__, "code", 500) < 500  # by the server, for good
            if failures < _ATTEMPTS and not refused:
                logger.info("%s: %s; trying again.", official.file, error)
                time.sleep(_PAUSE * max(failures, 1))
                continue
            kept = f" {_megabytes(came)} have come and are kept." if came else ""
            raise WeightFileError(
                f"cannot fetch {official.url}: {error}.{kept} Try again later with a connection; "
                f"or {_by_hand(official, target)}"
            ) from error


def _fetch(url: str, part: pathlib.Path, start: int) -> None:
    """Appends to the first `start` bytes what they lack.

    Raises:
      _Unreadable: it did not come, or not all.
      OSError: it cannot be written.
    """
    headers = {"User-Agent": "ega_jax"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                return  # nothing lies behind what is here: the checksum will tell
            raise _Unreadable(f"the server says {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Unreadable(_reason(error)) from error
    with response:
        if response.headers.get_content_type() == "text/html":  # where one is to log in first, say
            raise _Unreadable("the server gives a page instead of the file")
        if response.status == http.client.PARTIAL_CONTENT:
            place = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if not place or int(place[1]) != start:
                raise _Unreadable("the server gives another part than was asked for")
        else:
            start = 0  # it gives all, whatever was asked for
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _write(response, part, start, total)


def _write(
    response: http.client.HTTPResponse, part: pathlib.Path, start: int, total: int | None
) -> None:
    """Writes an answer's content from a place on."""
    done, reported = start, time.monotonic()
    # What is here is overwritten, never cut off: another process may rely on it.
    part.touch()
    with part.open("r+b") as file:
        file.seek(start)
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Unreadable(_reason(error)) from error
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            if time.monotonic() - reported >= _REPORT_EVERY:
                reported = time.monotonic()
                logger.info("%s: %s of %s", part.stem, _megabytes(done), _megabytes(total))
        if total is not None and done < total:
            raise _Unreadable(
                f"the connection ended after {_megabytes(done)} of {_megabytes(total)}"
            )
        file.truncate(done)
    logger.info("%s: %s are here.", part.stem, _megabytes(done))


def _reason(error: Exception) -> str:
    """Says in words what went wrong on the way."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _megabytes(size: int | None) -> str:
    return "an unknown size" if size is None else f"{size / 1e6:.1f} MB"
