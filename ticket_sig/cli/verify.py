"""Decide whether a claimed mark stands in a model, or a network was taught a claimed trigger set.

Exit code 0: verified; 1: not verified; 2: could not be decided. A model alone: its weights are read, and the
verdict rests on the data modules alone, with a p-value corrected for every place and every message that could
have been tried.

A claim of scheme 1 needs its key (--key), and the locked ticket that was handed out with it: the folder that
the claim lies in, or --locked DIR. With --data the accuracy is measured, too, and held against the
one that the claim promises (fidelity).

A claim of a watermark (FreezeNet, Uchida) is read off dense weights, also of models in many safetensors
files, which are never loaded whole. Accuracy is measured of models in one file.

With --triggers (scheme 3) the suspect is asked for labels instead: a model file, a server of the Open
Inference Protocol v2 (--url and --model), or whoever answered the pictures of `queries` (--answers and
--queries). Triggers are mixed with decoys, in an order that only the verifier knows. Ask a server twice only
with the same record (--queries): what two askings with other decoys have in common is the trigger set. A set
is spent, too, once its verdict is published.

Triggers that somebody chose (a folder) prove nothing alone: every honest network gives photographs their true
labels. Innocent networks of the same task must be asked the same (--control), and the claim must be older
than the suspect.

Example: ticket-sig verify SUSPECT.safetensors --claim SIGNED/claim.json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import black_box, options
from ticket_sig.cli.output import JsonFlag, print_json, print_verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ticket_sig.claim import Claim
    from ticket_sig.ticket import Ticket
    from ticket_sig.verdict import Verdict
    from ticket_sig.verification.fidelity import Fidelity

Model = Annotated[
    Path | None,
    typer.Argument(help="A bundle, a .safetensors file or a torch checkpoint.", show_default=False),
]
KeyFile = Annotated[Path | None, typer.Option("--key", help="The key's file (scheme 1).", show_default=False)]
Triggers = Annotated[
    Path | None,
    typer.Option(help="Ask for labels: the triggers' secret, or their folder.", show_default=False),
]
Url = Annotated[str | None, typer.Option(help="Server to ask, http://HOST:PORT.", show_default=False)]
Name = Annotated[
    str | None,
    typer.Option("--model", help="The model there: NAME or NAME/versions/VERSION.", show_default=False),
]
Answers = Annotated[Path | None, typer.Option(help="Table of answers, lines FILE,LABEL.", show_default=False)]
Queries = Annotated[
    Path | None,
    typer.Option(
        help="The record of what is asked, as of `queries`: read where it exists, to ask the same images "
        "again; else written.",
        show_default=False,
    ),
]
Arch = Annotated[str | None, typer.Option(help="Network, where the bundle does not say.", show_default=False)]
DatasetName = Annotated[
    str | None,
    typer.Option(help="Data set, for its normalisation, where the bundle does not say.", show_default=False),
]
Pixels = Annotated[
    str, typer.Option(help="What a server of floats is sent: normalised, unit (0 to 1) or bytes (0 to 255).")
]
Rate = Annotated[
    float | None, typer.Option(help="Images per second that a server is sent at most.", show_default=False)
]
Batch = Annotated[int, typer.Option(help="Images per request at most.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer of a server.")]
Retries = Annotated[int, typer.Option(help="Further tries where a server is down or overloaded.")]
TokenEnv = Annotated[
    str | None, typer.Option(help="Environment variable that holds a bearer token.", show_default=False)
]


def run(
    claim: Annotated[Path, typer.Option(help="Claim file.", show_default=False)],
    model: Model = None,
    key: KeyFile = None,
    locked: options.Locked = None,
    data: options.Data = None,
    triggers: Triggers = None,
    url: Url = None,
    name: Name = None,
    answers: Answers = None,
    queries: Queries = None,
    control: black_box.Controls = None,
    arch: Arch = None,
    dataset: DatasetName = None,
    pixels: Pixels = "normalised",
    decoys: black_box.Decoys = 300,
    rate: Rate = None,
    batch: Batch = 16,
    timeout: Timeout = 30,
    retries: Retries = 4,
    token_env: TokenEnv = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.cli.watermark.rows import watermark_lines

    asked = black_box.Asked(
        model=model,
        data=data,
        triggers=triggers,
        url=url,
        name=name,
        answers=answers,
        queries=queries,
        controls=tuple(control or ()),
        arch=arch,
        dataset=dataset,
        pixels=pixels,
        decoys=decoys,
        rate=rate,
        batch=batch,
        timeout=timeout,
        retries=retries,
        token_env=token_env,
    )
    for_answers, claimed = asked.for_answers, Claim.read(claim)
    _check_used(asked, claimed, key or locked, for_answers)
    if for_answers or model is None:
        verdict, accuracy = black_box.judge(asked, claimed)
        rows, lines = black_box.rows(verdict), list[str]()
    else:
        verdict, accuracy = _read(model, claimed, asked, key, locked)
        rows, lines = _rows(verdict), list(watermark_lines(verdict))
    if as_json:
        told = {"fidelity": accuracy and accuracy.to_json(), "model": asked.suspect, "claim": str(claim)}
        print_json({**verdict.to_json(), **told})
    else:
        print_verdict(verdict, rows, *lines, *([] if accuracy is None else [f"fidelity: {accuracy}"]))
    raise typer.Exit(0 if verdict.verified else 1)


def _check_used(asked: black_box.Asked, claim: Claim, of_scheme_1: Path | None, for_answers: bool) -> None:
    """Refuses options that this claim or this way of asking has no use for."""
    from ticket_sig.errors import bad_input

    if for_answers:
        if of_scheme_1:
            raise bad_input("", "--key, --locked", "weights to read", "a suspect that is asked for answers")
        return
    if asked.queries or asked.controls:
        found = "weights to read"
        raise bad_input("", "--queries, --control", "a suspect that is asked: --triggers", found)
    named = {"--arch": asked.arch, "--dataset": asked.dataset}
    if not _has_data(asked) and (unused := [name for name, value in named.items() if value]):
        expected = "data to measure the accuracy on: --data DIR, or --dataset digits"
        raise bad_input("", ", ".join(unused), expected, "none")
    if of_scheme_1:
        options.check_scheme_1(claim)


def _read(
    model: Path, claim: Claim, asked: black_box.Asked, key: Path | None, locked: Path | None
) -> tuple[Verdict, Fidelity | None]:
    from ticket_sig.errors import about
    from ticket_sig.formats import load, open_weights
    from ticket_sig.verification import verify
    from ticket_sig.watermarks import WATERMARKS

    with about(model):
        if claim.scheme in WATERMARKS:
            verdict = verify(open_weights(model), claim)
            return verdict, _fidelity(model, None, claim, asked)
        ticket = load(model).ticket
        source = Path(claim.source)
        verdict = verify(ticket, claim, *(options.key_and_locked(key, source, locked) if key else ()))
        return verdict, _fidelity(model, ticket, claim, asked)


def _fidelity(model: Path, ticket: Ticket | None, claim: Claim, asked: black_box.Asked) -> Fidelity | None:
    """How accurate the model is; None where nobody gave data to measure it on.

    Args:
        ticket: what the model holds, if that was read before.
    """
    from ticket_sig.cli.watermark.inputs import check_one_file
    from ticket_sig.datasets import load_dataset
    from ticket_sig.errors import bad_input
    from ticket_sig.formats import load
    from ticket_sig.verification.fidelity import fidelity

    if not _has_data(asked):
        return None
    option = "--data" if asked.data else "--dataset"
    if ticket is None:
        hint = f"leave {option} out, or merge them into one file"
        check_one_file(model, option, "a model in one file, to measure its accuracy", hint)
        ticket = load(model).ticket
    known = ticket.recipe or {}
    arch, dataset = asked.arch or known.get("arch"), asked.dataset or known.get("dataset")
    if not (arch and dataset):
        hint = "name them: --arch, --dataset"
        raise bad_input("", option, "the names of network and data set, too", "none", hint=hint)
    return fidelity(ticket, arch, load_dataset(dataset, asked.data), claim.accuracy)


def _has_data(asked: black_box.Asked) -> bool:
    return asked.data is not None or asked.dataset == "digits"


def _rows(verdict: Verdict) -> Sequence[tuple[str, object]]:
    from ticket_sig.cli.watermark.rows import watermark_rows
    from ticket_sig.statistics import format_p
    from ticket_sig.verdict import LOG10_THRESHOLD
    from ticket_sig.watermarks import WATERMARKS

    evidence = verdict.evidence
    if evidence["scheme"] in WATERMARKS:
        return watermark_rows(verdict)
    kept = ("weights kept", f"{evidence['kept']} of {evidence['total']}")
    p_value = ("p-value", f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})")
    if "key_weights" in evidence:
        chance = ("expected by chance, at most", evidence["expected_by_chance"])
        needed = ("needed, whatever the p-value", evidence["key_weights_needed"])
        return [("statistic", verdict.statistic), chance, needed, p_value, kept]
    return [
        ("claimed message", evidence["claimed_message"]),
        ("message read", evidence["message"] if evidence["message"] is not None else "cannot be read"),
        ("statistic", verdict.statistic),
        p_value,
        ("  for one code at one place", format_p(evidence["log10_p_uncorrected"])),
        ("  places to choose from", f"10^{evidence['log10_places_tried']:.1f}"),
        ("  messages to choose from", f"10^{evidence['log10_messages_tried']:.1f}"),
        kept,
    ]
