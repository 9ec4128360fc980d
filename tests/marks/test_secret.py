"""An owner's secret: in a file of its own, said nowhere else."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ticket_sig import InputError
from ticket_sig.marks.secret import Secret, outside, read_or_made
from ticket_sig.prf import Stream

BYTES = bytes(range(32))


def test_it_is_said_nowhere() -> None:
    told = [repr(Secret(BYTES)), str(Secret(BYTES)), repr(Stream(BYTES, "a")), Secret(BYTES).commitment]
    told += [repr({"secret": Secret(BYTES)}), repr(vars(Secret(BYTES)).keys())]
    assert not any(shown in one for one in told for shown in (BYTES.hex(), repr(BYTES)[2:-1], "\\x01\\x02"))


def test_a_commitment_is_of_one_secret_and_is_not_its_plain_digest() -> None:
    own = Secret(BYTES).commitment
    assert own != Secret(bytes(32)).commitment and own == Secret(BYTES).commitment
    assert own != f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
    assert hashlib.sha256(b"ticket_sig secret" + BYTES).hexdigest() in own, "what old claims hold"


def test_what_is_derived_for_others_is_another_for_each_and_no_commitment() -> None:
    secret = Secret(BYTES)
    derived = {name: secret.derived(name) for name in ("qr-code", "uchida")}
    assert len({*derived.values(), BYTES}) == 3 and {len(one) for one in derived.values()} == {32}
    assert not any(one.hex() in secret.commitment for one in derived.values())


def test_fresh_ones_differ_and_bytes_are_taken_as_they_are() -> None:
    assert Secret.of(None) != Secret.of(None)
    assert Secret.of(BYTES) == Secret.of(Secret(BYTES)) == Secret(BYTES)


@pytest.mark.parametrize("size", [0, 31, 33, 1 << 20])
def test_another_size_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^secret: expected 32 bytes, found {size}$"):
        Secret(bytes(size))
    (tmp_path / "s").write_bytes(bytes(size))
    with pytest.raises(InputError, match="/s: secret: expected "):
        Secret.read(tmp_path / "s")


def test_a_file_is_its_owner_s_alone_and_never_overwritten(tmp_path: Path) -> None:
    Secret(BYTES).write(tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    assert Secret.read(tmp_path / "s") == Secret(BYTES)
    with pytest.raises(InputError, match="/s: secret: expected a name not taken yet, found one that is"):
        Secret.fresh().write(tmp_path / "s")
    assert Secret.read(tmp_path / "s") == Secret(BYTES)


def test_of_runs_that_make_one_at_once_only_the_one_whose_secret_stays_goes_on(tmp_path: Path) -> None:
    def written(number: int) -> bool:
        try:
            Secret(bytes([number] * 32)).write(tmp_path / "s")
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        gone_on = [n for n, done in enumerate(threads.map(written, range(8))) if done]
    assert [Secret(bytes([n] * 32)) for n in gone_on] == [Secret.read(tmp_path / "s")]


def test_one_is_made_where_there_is_none_and_read_the_next_time(tmp_path: Path) -> None:
    with read_or_made(tmp_path / "s", tmp_path / "claim.json") as first:
        assert Secret.read(tmp_path / "s") == first, "it is there before anything is made with it"
    with read_or_made(tmp_path / "s", tmp_path / "claim.json") as second:
        assert second == first
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_one_that_was_made_goes_when_its_use_fails_and_one_that_was_there_stays(tmp_path: Path) -> None:
    for stays in (False, True):
        if stays:
            Secret(BYTES).write(tmp_path / "s")
        for error in (InputError("no"), KeyboardInterrupt()):
            with pytest.raises(type(error)), read_or_made(tmp_path / "s", tmp_path / "claim.json"):
                raise error
        assert [path.name for path in tmp_path.iterdir()] == ["s"] * stays


def test_one_that_a_claim_commits_to_by_then_stays(tmp_path: Path) -> None:
    claim = tmp_path / "claim.json"
    with pytest.raises(KeyboardInterrupt), read_or_made(tmp_path / "s", claim) as secret:
        claim.write_text(f'{{"commitment": "{secret.commitment}"}}')
        raise KeyboardInterrupt
    assert Secret.read(tmp_path / "s") == secret
    with pytest.raises(KeyboardInterrupt), read_or_made(tmp_path / "other", claim):
        raise KeyboardInterrupt
    assert not (tmp_path / "other").exists(), "the claim is of another"


def test_a_link_to_nothing_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(InputError, match="/s: secret: expected a file of bytes, found none"),
        read_or_made(tmp_path / "s", tmp_path / "claim.json"),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_one_in_a_folder_that_is_given_away_is_refused_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "OUT").mkdir()
    (tmp_path / "LINK").symlink_to(tmp_path / "OUT")
    outside(tmp_path / "OUT.secret", [tmp_path / "OUT"])
    for inside in ("OUT/s", "LINK/s", "OUT/../OUT/deep/s"):
        with pytest.raises(InputError, match=r"expected a file outside of .*OUT, found one inside"):
            outside(tmp_path / inside, [tmp_path / "OUT"])
