"""A transcript of a small search, and copies of it to tamper with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command_line import FIND, done
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig.key_pair import KeyPair
from ticket_sig.lottery import find
from ticket_sig.training.loop import Engine
from ticket_sig.transcripts import TranscriptRecorder

EVERY = 5


@pytest.fixture(scope="session")
def owner() -> KeyPair:
    return KeyPair.make()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, owner: KeyPair) -> Path:
    """The transcript of one round of search, signed; boundaries at 0, 2 (rewind), 5, 10 and 12."""
    folder = tmp_path_factory.mktemp("transcript")
    engine = Engine(recorder=TranscriptRecorder(folder / "transcript", every=EVERY, key=owner))
    find(tiny_recipe(), tiny_data(), folder / "run", model=TinyNet(), engine=engine)
    return folder / "transcript"


@pytest.fixture(scope="session")
def on_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search on digits, recorded by the command line: the folders RUN and T, and the key that signed."""
    home = tmp_path_factory.mktemp("digits")
    done(["keygen", "--out", home / "owner.key"])
    recording = ("--transcript", home / "T", "--every", 9, "--sign", home / "owner.key")
    done([*FIND, "--out", home / "RUN", *recording])
    return home


@pytest.fixture
def transcript(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(recorded, tmp_path / "transcript"))
