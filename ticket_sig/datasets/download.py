"""Downloads a data set's official archive: resumed where it broke off, checked, unpacked."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from ticket_sig.datasets.registry import DATASETS, Archive
from ticket_sig.errors import bad_input
from ticket_sig.files import make_folder, whole_folder

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte

Progress = Callable[[int, int | None], None]


def download(
    name: str, out: Path, *, url: str | None = None, md5: str | None = None, progress: Progress | None = None
) -> Path:
    """Downloads and unpacks a data set; returns the folder to give as `--data`.

    A broken download leaves `OUT/ARCHIVE.part` and goes on from there the next time.

    Args:
        out: created where needed.
        url: a mirror of the archive; the official address by default.
        md5: of a mirror whose archive differs; the official one by default.
        progress: called with (bytes so far, bytes in all if known).

    Raises:
        InputError: nothing to download for this name, the server refuses or breaks off, or the
            checksum is another one (the file is removed then).
    """
    archive = DATASETS[name].archive if name in DATASETS else None
    if archive is None:
        names = ", ".join(n for n, spec in DATASETS.items() if spec.archive)
        raise bad_input("", "dataset", f"one that can be downloaded ({names})", repr(name))
    folder = out / archive.folder
    if folder.is_dir():
        return folder
    make_folder(out)
    url = url or archive.url
    part = out / f"{archive.folder}.tar.gz.part"
    _fetch(url, part, progress or (lambda done, total: None))
    _check(part, url, md5 or archive.md5)
    _unpack(part, folder, archive)
    part.unlink()
    return folder


def _fetch(url: str, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            if answer.status != 206:  # the server cannot resume: from the start
                done = 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length else None
            with part.open("ab" if done else "wb") as file:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing left to send: all of it is here
            return
        found = f"HTTP status {error.code} ({error.reason})"
        raise bad_input(url, "download", "the archive", found) from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        found = f"{error} after {done} bytes"
        raise bad_input(url, "download", "the archive", found, hint="run again to go on") from None
    if total is not None and done < total:
        raise bad_input(url, "download", f"{total} bytes", f"{done}", hint="run again to go on")


def _check(part: Path, url: str, md5: str) -> None:
    with part.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != md5:
        part.unlink()
        raise bad_input(url, "md5", md5, digest.hexdigest(), hint="the file was removed; run again")


def _unpack(part: Path, folder: Path, archive: Archive) -> None:
    """Takes the plain files of the archive's own folder and nothing else: no links, no paths elsewhere."""
    try:
        with tarfile.open(part, "r:gz") as tar, whole_folder(folder) as partial:
            for member in tar:
                path = PurePosixPath(member.name)
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None and path.parts == (archive.folder, path.name) and path.name != "..":
                    with (partial / path.name).open("wb") as file:
                        shutil.copyfileobj(content, file)
            if not any(partial.iterdir()):
                raise bad_input(part, "archive", f"files under {archive.folder}/", "none")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise bad_input(part, "archive", "a whole .tar.gz", f"a damaged one ({error})") from None
