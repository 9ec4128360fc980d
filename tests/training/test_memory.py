"""Training keeps the memory that it frees; who reads a large model once gives it back."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.tiny import TinyNet

from ticket_sig.training import loop

# In a process of its own: what is kept is kept for good. 8 MiB is more than glibc keeps by itself at first.
_COUNT = """
import resource, torch
from ticket_sig.training.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        blocks = [torch.ones(2 << 20) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
kept = keep_freed_memory()
faults()
print(kept, plain, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_memory_that_was_freed_is_there_again_without_new_pages() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True)
    kept, plain, after = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library")
    assert int(after) < int(plain) / 10


def test_it_is_left_alone_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(loop, "keep_freed_memory", lambda: called.append(True))
    for keep in (False, True):
        loop.Engine(keep_memory=keep).prepare(TinyNet(), "float32")
    assert called == [True]


_RESIDENT = """
import numpy, os
from ticket_sig.training.memory import give_back_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
for given in (False, True):  # each in a copy of this process, which has imported all
    if os.fork():
        os.wait()
        continue
    if given:
        give_back_freed_memory()
    del (first := [numpy.ones(30 << 20, numpy.uint8)])[:]  # glibc learns from the first
    before = resident()
    blocks = [numpy.ones(25 << 20, numpy.uint8) for _ in range(5)]
    last = numpy.ones(1 << 10, numpy.uint8)
    del blocks
    os.write(1, b"%d " % (resident() - before))
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_where_it_is_given_back_nothing_large_stays() -> None:
    done = subprocess.run([sys.executable, "-c", _RESIDENT], capture_output=True, text=True, check=True)
    left, given = map(int, done.stdout.split())
    if left < 25:
        pytest.skip("another C library")
    assert given < 5
