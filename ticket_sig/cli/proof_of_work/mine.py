"""Mine a proof of work: train networks that carry a block's watermark until one is accurate enough.

Each attempt has another nonce, and goes through the whole schedule. Exit code 0: solved; 1: not within the
budget. Stopped with Ctrl-C, nothing is written.

The block should name its miner: whoever has a solution can alter it into another one of the same block. A
small share can be written over any trained network without work; ask for a half or more. Where the miner can
see the test images, they can be trained on.

Example: ticket-sig proof-of-work mine --text "block 7, alice" --share 0.5 --target 90 --out SOLUTION
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json, tell_next

if TYPE_CHECKING:
    from ticket_sig.proof_of_work import Challenge, Mined

ARCH, DATASET = "freezenet", "digits"

Block = Annotated[Path | None, typer.Option(help="File of the block's bytes.")]
Text = Annotated[str | None, typer.Option(help="The block as a text, in place of --block.")]
Attempts = Annotated[
    int | None, typer.Option(min=1, help="Attempts at most; without a budget until it is solved.")
]
Seconds = Annotated[float | None, typer.Option(help="Begin no attempt after so many seconds.")]


def run(
    folder: options.Folder,
    given: dict[str, Any],
    block: Block = None,
    text: Text = None,
    arch: options.NewArch = ARCH,
    dataset: options.NewDataset = DATASET,
    data: options.Data = None,
    preset: options.NewPreset = None,
    epochs: options.Epochs = None,
    attempts: Attempts = None,
    seconds: Seconds = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.proof_of_work import Challenge, Difficulty, mine, write_solution
    from ticket_sig.proof_of_work.solution import check_place

    challenge = Challenge.of(block, text, Difficulty(**given), arch)
    check_place(folder, replace=force)
    with options.engine(device, checkpoint_every=0) as engine:
        recipe = options.recipe(preset, arch, dataset, precision, engine, epochs)
        images = load_dataset(dataset, data)
        mined = mine(challenge, images, recipe, engine=engine, attempts=attempts, seconds=seconds)
    if mined.solution is not None:
        write_solution(mined.solution, folder, replace=force)
    asked = _asked(challenge, block=block, text=text, dataset=dataset, data=data)
    _report(mined, challenge, folder, asked, as_json)
    raise typer.Exit(0 if mined.solution else 1)


def _asked(challenge: Challenge, **given: str | Path | None) -> list[object]:
    """The challenge as options of `check`; what is as by default is left out."""
    asked, default = challenge.difficulty, {"arch": ARCH, "dataset": DATASET, "scale": "unit"}
    told = {"share": asked.share, "target": asked.target, "arch": challenge.arch, "scale": asked.scale}
    options = {name: value for name, value in {**given, **told}.items() if value != default.get(name)}
    pairs = [(f"--{name}", value) for name, value in options.items() if value is not None]
    return [word for pair in pairs for word in pair]


def _report(mined: Mined, challenge: Challenge, folder: Path, asked: list[object], as_json: bool) -> None:
    solved, spent = mined.solution, sum(one.seconds for one in mined.attempts)
    best = max(one.accuracy for one in mined.attempts)
    if as_json:
        tried = [
            {"nonce": one.nonce.hex(), "accuracy": one.accuracy, "seconds": round(one.seconds, 3)}
            for one in mined.attempts
        ]
        print_json({"solution": folder if solved else None, "block": challenge.digest, "attempts": tried})
        return
    done = f"by attempt {len(mined.attempts)}, {spent:.1f} s: {percent(best)} % test accuracy"
    if solved is None:
        out.print(f"not solved {done} at best, of {challenge.difficulty.target:g} %")
        return
    out.print(f"solved {done}\nnonce: {solved.nonce.hex()}\nsolution: {folder}")
    tell_next("proof-of-work", "check", folder, *asked)
