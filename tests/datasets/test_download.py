"""Downloading from a server on loopback: whole, broken off, resumed, refused, hostile."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ticket_sig import InputError
from ticket_sig.datasets.download import download

_FOLDER = "cifar-10-batches-py"
# Letters, so that gzip has something to compress and a flipped bit something to break.
_FILES = {"data_batch_1": bytes(random.Random(0).choices(b"abcdefgh", k=60_000)), "test_batch": b"\x80\x02]."}


class Server:
    """Serves one file at `url`, and does as it is told.

    Attributes:
        breaks_off: bytes after which the connection ends, once for each entry.
        resumes: whether it knows Range.
        ranges: the Range header of every request.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.resumes, self.status, self.tells_length = content, True, 200, True
        self.breaks_off: list[int] = []
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/archive.tar.gz"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        if self.status != 200:
            request.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.resumes else 0
        if start and start >= len(self.content):
            request.send_error(416)
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        if self.tells_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.breaks_off.pop(0)] if self.breaks_off else body)

    @property
    def md5(self) -> str:
        return hashlib.md5(self.content).hexdigest()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


_WHOLE = archive(
    entry(_FOLDER, type=tarfile.DIRTYPE), *(entry(f"{_FOLDER}/{n}", c) for n, c in _FILES.items())
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that this machine may use cannot see our loopback servers."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Server]]:
    servers: list[Server] = []

    def start(content: bytes = _WHOLE) -> Server:
        servers.append(Server(content))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()


def is_whole(folder: Path) -> bool:
    return {p.name: p.read_bytes() for p in folder.iterdir()} == _FILES


def listing(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_a_whole_download_is_unpacked_and_nothing_else_is_left(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    out = tmp_path / "new" / "data"
    folder = download(
        "cifar10",
        out,
        url=server.url,
        md5=server.md5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert folder == out / _FOLDER and is_whole(folder)
    assert listing(out) == {_FOLDER, *(f"{_FOLDER}/{name}" for name in _FILES)}
    assert seen[-1] == (len(_WHOLE), len(_WHOLE))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_there_already_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    first = download("cifar10", tmp_path, url=server.url, md5=server.md5)
    assert download("cifar10", tmp_path, url=server.url, md5=server.md5) == first
    assert len(server.ranges) == 1


@pytest.mark.parametrize("tells_length", [True, False])
@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_that_broke_off_goes_on_where_it_was(
    resumes: bool, tells_length: bool, server: Server, tmp_path: Path
) -> None:
    server.resumes, server.tells_length = resumes, tells_length
    server.breaks_off = [10_000, 5_000]
    seen: list[tuple[int, int | None]] = []

    def attempt() -> Path:
        return download(
            "cifar10", tmp_path, url=server.url, md5=server.md5, progress=lambda *now: seen.append(now)
        )

    if tells_length:
        for _ in range(2):
            with pytest.raises(InputError, match=rf"{server.url}: download.*run again to go on"):
                attempt()
            assert not (tmp_path / _FOLDER).exists()
        assert is_whole(attempt())
        asked = [None, "bytes=10000-", "bytes=15000-" if resumes else "bytes=5000-"]
        assert server.ranges == asked
        assert seen[-1] == (len(_WHOLE), len(_WHOLE))
    else:
        # Nobody can tell that this is not all, but the checksum.
        with pytest.raises(InputError, match="md5"):
            attempt()
        server.breaks_off = []
        assert is_whole(attempt())


def test_a_download_that_was_complete_but_not_unpacked_is_not_sent_again(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / f"{_FOLDER}.tar.gz.part").write_bytes(_WHOLE)
    assert is_whole(download("cifar10", tmp_path, url=server.url, md5=server.md5))
    assert server.ranges == [f"bytes={len(_WHOLE)}-"]


@pytest.mark.parametrize("left", [b"x" * 100, b"x" * 1_000_000], ids=["shorter", "longer"])
def test_what_was_left_of_another_archive_is_thrown_away(left: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{_FOLDER}.tar.gz.part").write_bytes(left)
    with pytest.raises(
        InputError, match=rf"md5: expected {server.md5}, found \w{{32}}; the file was removed"
    ):
        download("cifar10", tmp_path, url=server.url, md5=server.md5)
    assert listing(tmp_path) == set()
    assert is_whole(download("cifar10", tmp_path, url=server.url, md5=server.md5))


def test_an_archive_that_is_not_the_official_one_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"md5: expected c58f30108f718f92721af3b95e74349a, found"):
        download("cifar10", tmp_path, url=server.url)
    assert listing(tmp_path) == set()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_quoted_and_what_is_here_is_kept(
    status: int, server: Server, tmp_path: Path
) -> None:
    part = tmp_path / f"{_FOLDER}.tar.gz.part"
    part.write_bytes(_WHOLE[:1000])
    server.status = status
    with pytest.raises(
        InputError, match=f"{server.url}: download: expected the archive, found HTTP status {status}"
    ):
        download("cifar10", tmp_path, url=server.url)
    assert part.read_bytes() == _WHOLE[:1000]


@pytest.mark.parametrize("url", ["no address", "http://127.0.0.1:1/archive.tar.gz", "ftp://[", "http://"])
def test_an_address_that_leads_nowhere_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="download: expected the archive"):
        download("cifar10", tmp_path, url=url)


@pytest.mark.parametrize("name", ["digits", "images", "mnist"])
def test_what_cannot_be_downloaded_is_refused_with_what_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"expected one that can be downloaded \(cifar10, cifar100\), found '{name}'"
    ):
        download(name, tmp_path)


_EVIL = [
    entry("../evil", b"evil"),
    entry(f"{_FOLDER}/../evil", b"evil"),
    entry(f"{_FOLDER}/../../evil", b"evil"),
    entry("/tmp/evil-of-ticket-sig-tests", b"evil"),
    entry("elsewhere/evil", b"evil"),
    entry("evil", b"evil"),
    entry(f"{_FOLDER}/link", type=tarfile.SYMTYPE, linkname="../../evil"),
    entry(f"{_FOLDER}/hard", type=tarfile.LNKTYPE, linkname="../../evil"),
    entry(f"{_FOLDER}/pipe", type=tarfile.FIFOTYPE),
    entry(f"{_FOLDER}/sub", type=tarfile.SYMTYPE, linkname=".."),
    entry(f"{_FOLDER}/sub/evil", b"evil"),
]


def test_members_that_lead_elsewhere_and_links_are_not_unpacked(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    good = [entry(f"{_FOLDER}/{name}", content) for name, content in _FILES.items()]
    server = serve(archive(*_EVIL, *good))
    out = tmp_path / "a" / "data"
    assert is_whole(download("cifar10", out, url=server.url, md5=server.md5))
    assert not [name for name in listing(tmp_path) if "evil" in name]
    assert not Path("/tmp/evil-of-ticket-sig-tests").exists()


@pytest.mark.parametrize("name", [f"{_FOLDER}/..", f"{_FOLDER}/.", _FOLDER, ".", ".."])
def test_a_file_with_the_name_of_a_folder_does_no_harm(
    name: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    good = [entry(f"{_FOLDER}/{n}", content) for n, content in _FILES.items()]
    server = serve(archive(entry(name, b"evil"), *good))
    assert is_whole(download("cifar10", tmp_path / "data", url=server.url, md5=server.md5))
    assert {n for n in listing(tmp_path) if "/" not in n} == {"data"}


def test_a_link_is_not_followed_when_a_file_of_its_name_comes_after(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link = entry(f"{_FOLDER}/test_batch", type=tarfile.SYMTYPE, linkname=str(victim))
    server = serve(archive(link, *(entry(f"{_FOLDER}/{n}", c) for n, c in _FILES.items())))
    assert is_whole(download("cifar10", tmp_path / "data", url=server.url, md5=server.md5))
    assert victim.read_text() == "mine"


def test_an_archive_made_from_a_folder_here_will_do(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(archive(*(entry(f"./{_FOLDER}/{n}", c) for n, c in _FILES.items())))
    assert is_whole(download("cifar10", tmp_path, url=server.url, md5=server.md5))


def _flipped(where: int) -> bytes:
    damaged = bytearray(_WHOLE)
    damaged[where] ^= 0x10
    return bytes(damaged)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", _WHOLE[:500], _WHOLE[: len(_WHOLE) // 2], archive(entry("other/file", b"x"))],
    ids=["empty", "text", "cut early", "cut half way", "another folder"],
)
def test_an_archive_of_another_kind_is_refused_and_leaves_nothing_half_unpacked(
    content: bytes, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(content)
    with pytest.raises(InputError, match=f"{_FOLDER}.tar.gz.part: archive: expected"):
        download("cifar10", tmp_path, url=server.url, md5=server.md5)
    assert listing(tmp_path) <= {f"{_FOLDER}.tar.gz.part"}


@given(where=st.floats(0, 1), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_flipped_archive_is_unpacked_or_refused_but_never_a_crash(
    where: float, bit: int, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The checksum given is its own: a mirror's archive that was damaged before the sum was taken.
    damaged = bytearray(_WHOLE)
    damaged[int(where * (len(damaged) - 1))] ^= 1 << bit
    server.content = bytes(damaged)
    out = tmp_path_factory.mktemp("flipped")
    try:
        download("cifar10", out, url=server.url, md5=server.md5)
    except InputError as error:
        assert f"{_FOLDER}.tar.gz.part: archive: expected" in str(error)
        assert listing(out) == {f"{_FOLDER}.tar.gz.part"}
