"""Put a mark into a model: by default a message, as a QR code in one layer's kernel map.

--mark qr-code: the model must be sparse, and needs no known architecture; the number of kept weights stays
what it was. --mark freezenet: values fixed at places, both of which follow from --message or --secret, else
from 32 fresh secret bytes; large models in safetensors files are copied and never loaded whole. --mark
uchida: bits in the mean filter of one layer, by its least change; `train` teaches them on with data.
--mark nct: bits that a classifier, which the claim holds, reads off the network, which is not changed; never
verified by itself. --mark spread, --mark mirror: a message, or the fingerprint of a public key, all over the
mask, under an owner's secret that the claim only commits to. Several at once: --mark qr-code+spread+mirror.

The bundle holds model.safetensors, which loads into the model's own module, and claim.json, which a
verifier needs. The claim of freezenet, uchida and nct holds their secret: keep it, have it dated, and give
away the model alone. Marks of the claim beside the model stay claimed, as long as they stand. Train it next,
so that the network recovers.

Beside the claim lies reference.safetensors, the model before its first mark, to which the claim commits: with
it `verify --reference` undoes renamed tensors, permuted channels and the like. Keep it as you keep the claim.

Example: ticket-sig embed RUN/ticket --message "owner@example.org" --out SIGNED

Several marks: ticket-sig embed RUN/ticket --mark qr-code+spread+mirror --message "owner@example.org"
--secret owner.secret --out SIGNED

A key's fingerprint: ticket-sig embed RUN/ticket --mark spread --fingerprint owner.pub --out SIGNED
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import (
    ForceFlag,
    JsonFlag,
    out,
    print_json,
    print_rows,
    printable,
    progress,
    tell_next,
)
from ticket_sig.files import read_bytes
from ticket_sig.options import share

if TYPE_CHECKING:
    from ticket_sig.marks.embed_in_files import PutIn, Written
    from ticket_sig.marks.secret import Secret

MarkName = Annotated[
    str, typer.Option("--mark", help="Kind of the mark: {}. Several are put in as NAME+NAME.")
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret",
        help="File of the bytes that decide all that must look like chance; fresh ones by default. Where a "
        "mark keeps them out of the claim, they are made where there is none: OUT.secret by default.",
    ),
]
Prune = Annotated[float | None, typer.Option(help="First prune this share by magnitude (for dense models).")]
Searched = Annotated[
    Path | None,
    typer.Option(
        "--transcript",
        help="Transcript of the search that found this ticket: the message carries the head of its chain, "
        "and the claim names it.",
    ),
]
Reference = Annotated[
    bool,
    typer.Option(
        help="Keep the model as it was (reference.safetensors) beside the claim, which commits to it: "
        "`verify --reference` undoes with it what a thief changed for free.",
    ),
]


def run(
    model: options.Model,
    bundle: options.Bundle,
    given: dict[str, Any],
    mark: MarkName = "qr-code",
    secret: SecretFile = None,
    mask: options.MaskFile = None,
    prune: Prune = None,
    transcript: Searched = None,
    reference: Reference = True,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.marks.embed import keep_apart, options_of_each
    from ticket_sig.marks.embed_in_files import embed_in_files
    from ticket_sig.marks.secret import outside
    from ticket_sig.training.memory import give_back_freed_memory
    from ticket_sig.transcripts import Transcript
    from ticket_sig.transcripts.link import tagged

    give_back_freed_memory()
    if prune is not None:
        share("--prune", prune)
    searched = Transcript.open(transcript) if transcript else None
    if searched and given.get("message") is not None:
        given = {**given, "message": tagged(given["message"], searched)}
    chosen = options_of_each(mark, **given)
    apart = keep_apart(chosen)
    file = secret or (Path(f"{bundle}.secret") if apart else None)
    if apart and file:
        outside(file, [bundle, *([model] if secret else [])])
    with _secret(file, apart, bundle / "claim.json") as decides, progress() as bars:
        made = embed_in_files(
            model,
            bundle,
            chosen,
            secret=decides,
            mask_file=mask,
            prune=prune,
            transcript=searched,
            reference=reference,
            replace=force,
            progress=bars,
        )
    _report(made, model, bundle, file if apart else None, as_json)


_USE = (
    "`verify --reference` undoes with it what a thief changed for free; keep it with the claim, "
    "and publish neither"
)


@contextmanager
def _secret(file: Path | None, apart: bool, claim: Path) -> Iterator[Secret | bytes | None]:
    """What decides all that must look like chance; an owner's secret is made where there is none."""
    from ticket_sig.marks.secret import read_or_made

    if file is not None and apart:
        with read_or_made(file, claim) as own:
            yield own
    else:
        yield read_bytes(file, "--secret") if file else None


def command() -> Callable[..., None]:
    """The verb with the options of every mark."""
    from ticket_sig.marks import MARKS

    kinds = {name: kind.options for name, kind in MARKS.items() if kind.options}
    return with_options(run, kinds, chooser="mark")


def _report(made: Written, model: Path, bundle: Path, secret: Path | None, as_json: bool) -> None:
    claim = bundle / "claim.json"
    kept = bundle / "reference.safetensors" if made.reference == "beside" else None
    if as_json:
        marks = [_told(one) for one in made.marks]
        left = {
            "left_out": list(made.left_out),
            "no_longer_claimed": list(made.dropped),
            "still_claimed": list(made.still),
        }
        files = {"bundle": bundle, "claim": claim, "reference": kept, "secret": secret}
        print_json({**files, **left, **marks[0], "marks": marks})
        return
    for one in made.marks:
        out.print(printable(str(one.mark)))
        print_rows([*one.facts, *one.verdict.rows()[1:]])
        if not one.verdict.detected:
            out.print(f"too weak to verify: it takes {one.mark.remedy()}")
    if made.still:
        out.print(printable(f"still claimed: {'; '.join(made.still)}"))
    if made.dropped:
        out.print(f"no longer claimed, as it no longer stands: {', '.join(made.dropped)}")
    if made.left_out:
        out.print(printable(f"left out of the copy: {', '.join(made.left_out)}"))
    out.print(f"bundle: {bundle}\nclaim: {claim}; keep it, give away the model alone")
    if made.claim.reference:
        lost = "the one that the claim names, which is not here"
        elsewhere = lost if made.reference == "unknown" else f"{model} as it was, not copied"
        out.print(printable(f"reference: {kept or elsewhere}; {_USE}"))
    if secret:
        from ticket_sig.marks.secret import CARE

        out.print(f"secret: {secret}; {CARE}")
    if (bundle / "model.safetensors").is_file():  # many files cannot be trained
        # From the rewind weights a mark of the final ones would have to be learnt anew.
        of_mask = all(one.mark.stands_in == "mask" for one in made.marks)
        rewinds = of_mask and (bundle / "rewind.safetensors").is_file()
        unnamed = options.names_for(bundle)
        named = [*([] if rewinds else ["--start", "model"]), *unnamed, *options.data_for(bundle)]
        tell_next("train", bundle, *named, "--out", "TRAINED")
        if unnamed:
            out.print("for a network of your own: retrain(model=...) in Python")
    tell_next("verify", bundle, "--claim", claim, *(["--secret", secret] if secret else []))


def _told(one: PutIn) -> dict[str, Any]:
    return {"mark": one.mark.name, "facts": dict(one.facts), **one.verdict.to_json()}
