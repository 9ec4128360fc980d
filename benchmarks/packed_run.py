"""A search's run folder in a few files of limited size, from which it goes on with the same bits.

Of a search under way it holds what cannot be made again: the finished levels, and the checkpoint of the one
that is not. Of a finished one it holds the ticket and its dense parent.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import tarfile
import time
import zlib
from pathlib import Path

from ticket_sig.errors import bad_input
from ticket_sig.files import whole_file, whole_folder

PART_BYTES = 15 << 20
PARTS = 2  # a new set is written beside the old one: at most twice as many files
_NAME = re.compile(r"run-(\d+)-(\d+)of(\d+)\.tgz")
# A search may be writing: what was written last is read first, so that all that it stands on is read, too.
_UNDER_WAY = (
    "levels/*/state.safetensors",
    "levels/*/result.json",
    "levels/*/model.safetensors",
    "levels/*/rewind.safetensors",
    "levels/*/mask.safetensors",
    "run.json",
)
_FINISHED = ("ticket/*", "dense/*", "run.json")


def finished(run: Path) -> bool:
    """Whether the search in a run folder has its ticket."""
    return (run / "ticket").is_dir() and (run / "dense").is_dir()


def pack(run: Path, out: Path) -> str:
    """Packs a run folder into `OUT/run-N-1ofM.tgz` and on; the set before it goes once this one is whole.

    Returns:
        What was written, in words.

    Raises:
        InputError: there is no run yet, or it takes more than PARTS files.
    """
    files = _contents(run)
    if "run.json" not in files:
        raise bad_input(run, "run folder", "a run that was begun", "none")
    packed = _archive(files)
    parts = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
    if len(parts) > PARTS:
        raise bad_input(run, "size", f"at most {PARTS * PART_BYTES} bytes, packed", f"{len(packed)}")
    old = _sets(out)
    # Later calls, on other machines too, get higher numbers: the files may be gathered in one folder.
    number = max(int(time.time()), max(old, default=0) + 1)
    for index, part in enumerate(parts, 1):
        with whole_file(out / f"run-{number}-{index}of{len(parts)}.tgz") as partial:
            partial.write_bytes(part)
    for path in (path for paths in old.values() for path in paths):
        path.unlink()
    what = "the finished ticket" if finished(run) else "the run"
    return f"{what} in {len(parts)} file(s) of {len(packed)} bytes together, run-{number}"


def unpack(folder: Path, run: Path) -> None:
    """Makes a run folder from the newest whole set of files in a folder.

    Raises:
        InputError: the run folder is there already, no set is whole, or it is damaged.
    """
    if run.exists():
        hint = "choose another, or go on with it without the packed files"
        raise bad_input(run, "run folder", "a name not taken yet", "one that is", hint=hint)
    sets = _sets(folder, whole=True)
    if not sets:
        raise bad_input(folder, "packed run", "all parts of run-N-1ofM.tgz", "none or not all")
    paths = sets[max(sets)]
    with whole_folder(run) as partial:
        try:
            # All of it at once: tarfile would stop before the checksum at the end.
            tar = io.BytesIO(gzip.decompress(b"".join(path.read_bytes() for path in paths)))
            with tarfile.open(fileobj=tar, mode="r:") as files:
                files.extractall(partial, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise bad_input(paths[0], "packed run", "a whole one", f"a damaged one ({error})") from None


def _contents(run: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for pattern in _FINISHED if finished(run) else _UNDER_WAY:
        for path in sorted(run.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):  # a state goes when its level is finished
                files[path.relative_to(run).as_posix()] = path.read_bytes()
    for name in [name for name in files if name.endswith("/result.json")]:
        files.pop(name.replace("result.json", "state.safetensors"), None)
    return files


def _archive(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(written.getvalue(), compresslevel=1)


def _sets(folder: Path, *, whole: bool = False) -> dict[int, list[Path]]:
    """The parts in a folder, in order, by the number of their set; on request only of sets that lack none."""
    found: dict[int, list[tuple[int, int, Path]]] = {}
    for path in folder.glob("run-*.tgz"):
        if match := _NAME.fullmatch(path.name):
            number, index, count = map(int, match.groups())
            found.setdefault(number, []).append((index, count, path))
    return {
        number: [path for _, _, path in sorted(parts)]
        for number, parts in found.items()
        if not whole or len(parts) == parts[0][1]
    }
