"""A FreezeNet watermark in models of up to 2 GB: seconds and memory to write it and to verify it.

    python benchmarks/freezenet.py [--runs 3] [--smoke] [--keep FOLDER]

Each step is a process of its own; its memory is given above that of one that imports the same and does
nothing. The peers read all shards with safetensors.torch.load_file, which maps them, and verify the dict; one
of them holds the tensors in memory first, as a network does. "cold": files that are on the disk alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from ticket_sig import Claim
from ticket_sig.formats import open_weights
from ticket_sig.formats.weights import InMemory
from ticket_sig.marks import Watermark, of_kind
from ticket_sig.marks.embed import options_for
from ticket_sig.marks.embed_in_files import embed_in_files
from ticket_sig.training.device import made_with
from ticket_sig.verification import verify

SIZES, LENGTHS, RUNS = (10**7, 10**8, 10**9), (4096, 10**6), 3
SHARDS = 4
DATA = b"owner@example.org, 2024-01-01"
MIB = 1 << 20


def write_model(folder: Path, parameters: int) -> int:
    """Writes a model of square bf16 matrices in shards, a matrix at a time; returns its parameters."""
    side = 4096 if parameters >= 10**8 else 512
    count = max(SHARDS, math.ceil(parameters / side**2))
    draw, index = torch.Generator().manual_seed(0), {}
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        names = [f"layers.{n}.weight" for n in range(shard, count, SHARDS)]
        size = 2 * side**2
        header = {
            name: {"dtype": "BF16", "shape": [side, side], "data_offsets": [i * size, (i + 1) * size]}
            for i, name in enumerate(names)
        }
        head = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(head).to_bytes(8, "little") + head)
            for _ in names:
                matrix = torch.randn(side, side, generator=draw).mul_(side**-0.5).bfloat16()
                out.write(matrix.view(torch.uint8).numpy().data)
        index.update(dict.fromkeys(names, file))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 2 * count * side**2}, "weight_map": index})
    )
    return count * side**2


def forget(folder: Path) -> None:
    """Has the system drop the files from its memory, so that they are read from the disk."""
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def loaded(folder: Path, hold: bool) -> dict[str, torch.Tensor]:
    """All tensors of all shards, as anybody reads them; held in memory, or mapped."""
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= safetensors.torch.load_file(file)
    return {name: t.clone() for name, t in tensors.items()} if hold else tensors


def child(step: str, folder: Path, length: int, runs: int) -> None:
    """One step, in a process of its own; prints what was measured."""
    claim, marked = folder / "claim.json", folder.with_name(f"marked-{length}")

    def judge() -> str:
        return verify(open_weights(folder), Claim.read(claim)).outcome

    def judge_loaded() -> str:
        mark = of_kind(Watermark, Claim.read(claim))
        return mark.read(InMemory(loaded(folder, step == "held"))).verdict().outcome

    def write() -> str:
        options = options_for("freezenet", length=length)
        return str(embed_in_files(folder, marked, {"freezenet": options}, secret=DATA, replace=True).mark)

    work: dict[str, Callable[[], str]] = {"apply": write, "verify": judge, "mapped": judge_loaded}
    work |= {"held": judge_loaded, "nothing": lambda: ""}
    times, said = [], ""
    if step in ("verify", "mapped", "held"):
        forget(folder)
    for _ in range(runs + 1 if step != "apply" else 1):
        start = time.perf_counter()
        said = work[step]()
        times.append(time.perf_counter() - start)
    warm = statistics.median(times[1:] or times)
    print(json.dumps({"said": said, "cold": times[0], "warm": warm, "peak": status("self", "VmHWM")}))


def status(process: int | str, field: str) -> int:
    """A line of /proc/PID/status, in bytes; 0 once the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def measured(step: str, folder: Path, length: int, runs: int) -> dict[str, float]:
    """Runs a step and watches its private memory."""
    command = [sys.executable, __file__, "--runs", str(runs), "--child", step, str(folder), str(length)]
    private = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            private = max(private, status(process.pid, "RssAnon"))
            time.sleep(0.002)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{step} of {folder} failed")
    return {**json.loads(said), "private": private}


def table_of(
    parameters: int, folder: Path, lengths: tuple[int, ...], runs: int, base: dict[str, float]
) -> None:
    """Marks, verifies and prints one model; memory is given above `base`."""

    def line(name: str, length: int, found: dict[str, float], verdict: str, cold: str) -> None:
        peak, private = (max(0, found[f] - base[f]) / MIB for f in ("peak", "private"))
        print(
            f"{name:>24} {length:>8} {found['warm']:>8.3f} {cold:>8} {peak:>8.0f} {private:>8.0f}  {verdict}"
        )

    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    print(f"\n{parameters:,} parameters, {size / 1e9:.3g} GB in {SHARDS} shards:")
    print(f"{'':>24} {'length':>8} {'seconds':>8} {'cold':>8} {'MiB':>8} {'private':>8}")
    for length in lengths:
        marked = folder.with_name(f"marked-{length}")
        line("write a marked copy", length, measured("apply", folder, length, 1), "", "")
        ours = measured("verify", marked, length, runs)
        line("verify", length, ours, str(ours["said"]), f"{ours['cold']:.3f}")
        peers = {"mapped": "peer, load_file", "held": "peer, held in memory"} if length == lengths[0] else {}
        for peer, name in peers.items():
            theirs = measured(peer, marked, length, runs)
            slower = theirs["warm"] / ours["warm"]
            larger = (theirs["peak"] - base["peak"]) / max(1, ours["peak"] - base["peak"])
            ratio = f"ratio: {slower:.2f} of the time, {larger:.1f} of the memory"
            line(name, length, theirs, f"{theirs['said']}; {ratio}", f"{theirs['cold']:.3f}")
        shutil.rmtree(marked)


def main() -> None:
    """Prints all measurements with hardware and versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--smoke", action="store_true", help="a small model, in seconds; for tests")
    parser.add_argument("--keep", type=Path, help="folder for the models, which stay there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        step, folder, length = options.child
        child(step, Path(folder), int(length), options.runs)
        return
    sizes, lengths = ((10**6,), (4096,)) if options.smoke else (SIZES, LENGTHS)
    print({**made_with(torch.device("cpu"), "bfloat16"), "numpy": np.__version__})
    folder = options.keep or Path(tempfile.mkdtemp(prefix="freezenet-"))
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 3 * 2 * max(sizes):
        raise SystemExit(f"{folder}: expected {6 * max(sizes) / 1e9:.0f} GB of free disk, found less")
    try:
        base = measured("nothing", folder, 0, 1)
        peak, private = (f"{base[field] / MIB:.0f} MiB" for field in ("peak", "private"))
        print(f"median of {options.runs} (write: 1); MiB: the most that was resident, above the imports")
        print(f"imports alone: {peak}, of it private {private}")
        for size in sizes:
            model = folder / f"{size}" / "model"
            parameters = write_model(model, size)
            table_of(parameters, model, lengths, options.runs, base)
            if not options.keep:
                shutil.rmtree(model.parent)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
