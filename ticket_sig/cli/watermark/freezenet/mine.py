"""Mine a proof of work: train networks that carry a block's watermark until one is accurate enough.

Each attempt has another nonce, and goes through the whole schedule. Exit code 0: solved; 1: not within the
budget. Stopped with Ctrl-C, nothing is written.

The block should name its miner: whoever has a solution can alter it into another one of the same block. A
small share can be written over any trained network without work; ask for a half or more. Where the miner can
see the test images, they can be trained on.

Example: ticket-sig watermark freezenet mine --text "block 7, alice" --share 0.5 --target 90 --out SOLUTION
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json

if TYPE_CHECKING:
    from ticket_sig.watermarks.proof_of_work import Challenge, Difficulty, Mined

ARCH, DATASET, SCALE = "freezenet", "digits", "unit"

Share = Annotated[
    float, typer.Option(help="Share of the parameters that the watermark fixes.", show_default=False)
]
Target = Annotated[float, typer.Option(help="Test accuracy to reach, in %.", show_default=False)]
Block = Annotated[Path | None, typer.Option(help="File of the block's bytes.", show_default=False)]
Text = Annotated[
    str | None, typer.Option(help="The block as a text, in place of --block.", show_default=False)
]
Arch = Annotated[str, typer.Option(help="freezenet, resnet20, resnet20-proj, resnet18, resnet50 or vgg16.")]
DatasetName = Annotated[str, typer.Option(help="digits, cifar10, cifar100 or images.")]
Scale = Annotated[
    str, typer.Option(help="Of the values: unit, as in the paper, or layer, of the size of initial weights.")
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Recipe: paper, open-lth, quick or demo; quick by default, demo for digits.", show_default=False
    ),
]
Attempts = Annotated[
    int | None,
    typer.Option(min=1, help="Attempts at most; without a budget until it is solved.", show_default=False),
]
Seconds = Annotated[
    float | None, typer.Option(help="Begin no attempt after so many seconds.", show_default=False)
]
Folder = Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)]


def run(
    share: Share,
    target: Target,
    folder: Folder,
    block: Block = None,
    text: Text = None,
    arch: Arch = ARCH,
    dataset: DatasetName = DATASET,
    data: options.Data = None,
    scale: Scale = SCALE,
    preset: Preset = None,
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
    from ticket_sig.training.device import pick_precision
    from ticket_sig.training.recipe import preset as make_recipe
    from ticket_sig.watermarks.proof_of_work import check_place, mine, write_solution

    challenge = challenge_of(block, text, arch, share, target, scale)
    check_place(folder, replace=force)
    with options.engine(device, checkpoint_every=0) as engine:
        recipe = make_recipe(
            preset or ("demo" if dataset == "digits" else "quick"),
            arch=arch,
            dataset=dataset,
            precision=pick_precision(precision, engine.device),
            **options.length_change(epochs),
        )
        images = load_dataset(dataset, data)
        mined = mine(challenge, images, recipe, engine=engine, attempts=attempts, seconds=seconds)
    if mined.solution is not None:
        write_solution(mined.solution, folder, replace=force)
    asked = _asked(block, text, arch, dataset, data, scale, challenge.difficulty)
    _report(mined, challenge, folder, asked, as_json)
    raise typer.Exit(0 if mined.solution else 1)


def challenge_of(
    block: Path | None, text: str | None, arch: str, share: float, target: float, scale: str
) -> Challenge:
    """The challenge that options state.

    Raises:
        InputError: not exactly one of --block and --text, or a part is out of range.
    """
    from ticket_sig.errors import bad_input
    from ticket_sig.watermarks.proof_of_work import Challenge, Difficulty

    if (block is None) == (text is None):
        raise bad_input("", "block", "one of --block and --text", "both" if block else "neither")
    # Bytes of the command line that are no UTF-8 come as surrogates; they go back to what they were.
    signed = block.read_bytes() if block is not None else (text or "").encode(errors="surrogateescape")
    return Challenge(signed, Difficulty(share, target, scale), arch)


def _asked(
    block: Path | None,
    text: str | None,
    arch: str,
    dataset: str,
    data: Path | None,
    scale: str,
    difficulty: Difficulty,
) -> str:
    """The challenge as options of `check`, for a shell; what is as by default is left out."""
    options = {
        "--block": None if block is None else str(block),
        "--text": text,
        "--share": str(difficulty.share),
        "--target": str(difficulty.target),
        "--arch": None if arch == ARCH else arch,
        "--dataset": None if dataset == DATASET else dataset,
        "--data": None if data is None else str(data),
        "--scale": None if scale == SCALE else scale,
    }
    return " ".join(f"{name} {_quoted(value)}" for name, value in options.items() if value is not None)


def _quoted(value: str) -> str:
    """A word for a shell; bytes that cannot be shown are spelled out, as bash, zsh and ksh read them."""
    if value.isprintable():
        return shlex.quote(value)
    shown = (chr(b) if 32 <= b < 127 and chr(b) not in "\\'" else f"\\x{b:02x}" for b in os.fsencode(value))
    return f"$'{''.join(shown)}'"


def _report(mined: Mined, challenge: Challenge, folder: Path, asked: str, as_json: bool) -> None:
    solved, spent = mined.solution, sum(one.seconds for one in mined.attempts)
    best = max(one.accuracy for one in mined.attempts)
    if as_json:
        tried = [
            {"nonce": one.nonce.hex(), "accuracy": one.accuracy, "seconds": round(one.seconds, 3)}
            for one in mined.attempts
        ]
        path = str(folder) if solved else None
        print_json({"solution": path, "block": challenge.digest, "attempts": tried})
        return
    done = f"by attempt {len(mined.attempts)}, {spent:.1f} s: {percent(best)} % test accuracy"
    if solved is None:
        out.print(f"not solved {done} at best, of {challenge.difficulty.target:g} %")
        return
    out.print(f"solved {done}\nnonce: {solved.nonce.hex()}\nsolution: {folder}")
    out.print(f"next: ticket-sig watermark freezenet check {_quoted(str(folder))} {asked}")
