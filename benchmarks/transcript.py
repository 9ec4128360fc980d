"""What a transcript costs: recording over training, auditing over its share of the training, and storage.

    python benchmarks/transcript.py --dataset cifar10 --data data/cifar-10-batches-py --steps 300 --runs 3

Interleaved runs, medians, ratios. Auditing includes loading and hashing of boundaries; data are decoded
already. Beside it stands what the authors' code took (1.18 for everything, without optimizer and buffers).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ticket_sig.datasets import load_dataset
from ticket_sig.lottery import find
from ticket_sig.training import Steps, preset
from ticket_sig.training.device import pick_device, pick_precision
from ticket_sig.training.loop import Engine
from ticket_sig.transcripts import Choice, Transcript, TranscriptRecorder, audit

AUTHORS = 1.18  # seconds of verifying everything over seconds of training: 134 / 114


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--segments", type=int, default=1, help="how many an audit trains again")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    data, device = load_dataset(given.dataset, given.data), pick_device()
    recipe = preset(
        "quick" if given.dataset != "digits" else "demo",
        arch="resnet20",
        dataset=given.dataset,
        length=Steps(given.steps, "it"),
        rewind=Steps(0, "it"),
        rounds=0,
        validation=0.1,
        precision=pick_precision("auto", device),
    )
    plain, recorded, audited = [], [], []
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plain.append(
                timed(lambda f=folder: find(recipe, data, f / "plain", engine=Engine(device=device)))
            )  # type: ignore[misc]
            recorder = TranscriptRecorder(folder / "transcript", every=given.every)
            engine = Engine(device=device, recorder=recorder)
            recorded.append(timed(lambda f=folder, e=engine: find(recipe, data, f / "recorded", engine=e)))  # type: ignore[misc]
            transcript = Transcript.open(folder / "transcript")
            choice = Choice(number=given.segments)
            audited.append(
                timed(lambda t=transcript, c=choice: audit(t, data, c, engine=Engine(device=device)))
            )  # type: ignore[misc]
            size = sum(f.stat().st_size for f in (folder / "transcript").rglob("*") if f.is_file())
            segments = len(transcript.segments)
    base, share = statistics.median(plain), given.segments / segments
    with_record, checked = statistics.median(recorded), statistics.median(audited)
    print(f"training: {base:.2f} s; recorded: {with_record:.2f} s, ratio {with_record / base:.3f}")
    cost = checked / (base * share)
    print(f"audit of {given.segments} of {segments} segments: {checked:.2f} s, {cost:.2f} times its share")
    print(f"the authors' code, all segments, no optimizer and no buffers: {AUTHORS} times")
    print(f"storage: {size / 1e6:.2f} MB for {segments + 1} boundaries")


if __name__ == "__main__":
    main()
