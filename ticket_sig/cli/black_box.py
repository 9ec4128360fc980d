"""Which suspect `verify` is to ask for labels, and how: what options become."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli.output import progress

if TYPE_CHECKING:
    from ticket_sig.claim import Claim
    from ticket_sig.datasets import Dataset
    from ticket_sig.signatures.triggers import TriggerSet
    from ticket_sig.ticket import Ticket
    from ticket_sig.training.progress import Progress
    from ticket_sig.verdict import Verdict
    from ticket_sig.verification.black_box import Ask
    from ticket_sig.verification.fidelity import Fidelity
    from ticket_sig.verification.queries import Queries

Decoys = Annotated[int, typer.Option(help="Unrelated images to ask about beside the triggers.")]
Controls = Annotated[
    list[Path] | None,
    typer.Option(
        "--control",
        help="An innocent network of the same task, as good as the suspect, asked the same; may be repeated. "
        "Needed where somebody chose the triggers (a folder).",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of `verify` that say whom to ask, and how; see there."""

    model: Path | None
    data: Path | None
    triggers: Path | None
    url: str | None
    name: str | None
    answers: Path | None
    queries: Path | None
    controls: tuple[Path, ...]
    arch: str | None
    dataset: str | None
    pixels: str
    decoys: int
    rate: float | None
    batch: int
    timeout: float
    retries: int
    token_env: str | None

    @property
    def for_answers(self) -> bool:
        """Whether the suspect is asked for answers (black box), or its weights are read (white box).

        Raises:
            InputError: no suspect is named, or more than one.
        """
        from ticket_sig.errors import bad_input

        ways = {"a model": self.model, "--url": self.url, "--answers": self.answers}
        named = [way for way, value in ways.items() if value is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise bad_input("", "suspect", "one of a model, --url and --answers", found)
        return self.model is None or self.triggers is not None

    @property
    def suspect(self) -> str:
        """Whom it is about, for people."""
        return f"{self.url}, model {self.name}" if self.url else str(self.model or self.answers)


def judge(asked: Asked, claim: Claim) -> tuple[Verdict, Fidelity | None]:
    """Asks the suspect and decides; also how accurate it is, where there are data to ask about.

    Raises:
        InputError: an option is missing, or it could not be decided.
    """
    from ticket_sig.verification.ask.answers_file import read_answers
    from ticket_sig.verification.black_box import check_controls
    from ticket_sig.verification.black_box import judge as judge_answers
    from ticket_sig.verification.fidelity import fidelity_of_answers

    triggers = triggers_of(claim, asked.triggers)
    check_controls(triggers, len(asked.controls))
    controls = controls_of(asked.controls, triggers.size[2], asked.arch, asked.dataset)
    with progress() as bars:
        ask, known = _ask(asked, triggers, bars)
        data = _data(asked, known)
        queries = _queries(asked, claim, triggers)
        # Controls first: what they lack is known before a server is asked, which cannot be undone.
        innocent = [control(queries.images) for control in controls]
        if asked.answers is not None:
            return judge_answers(claim, queries, read_answers(asked.answers, len(queries)), innocent), None
        assert ask is not None
        verdict = judge_answers(claim, queries, ask(queries.images), innocent)
        return verdict, fidelity_of_answers(ask, data, claim.accuracy) if data else None


def controls_of(paths: Sequence[Path], channels: int, arch: str | None, dataset: str | None) -> list[Ask]:
    """How to ask control networks; what their bundles do not say is as of the suspect.

    Raises:
        InputError: one is missing or damaged, or nobody says which network it is.
    """
    from ticket_sig.errors import about
    from ticket_sig.formats import load

    asks = []
    for path in paths:
        with about(path):
            ticket = load(path).ticket
            names = {} if ticket.recipe else {"arch": arch, "dataset": dataset}
            asks.append(_network(ticket, channels, **names))
    return asks


def triggers_of(claim: Claim, path: Path | None) -> TriggerSet:
    """The trigger set of a claim.

    Raises:
        InputError: the claim is not of scheme 3, or the set is missing, damaged or another one.
    """
    from ticket_sig.signatures.triggers import read_triggers
    from ticket_sig.verification.queries import mark_of

    mark = mark_of(claim)
    path = _given("--triggers", path, "the claim does not hold the secret")
    triggers = read_triggers(path, mark.size, mark.classes)
    mark.check(triggers)
    return triggers


def rows(verdict: Verdict) -> Sequence[tuple[str, object]]:
    """What the verdict rests on, for people."""
    from ticket_sig.statistics import format_p
    from ticket_sig.verdict import LOG10_THRESHOLD

    evidence = verdict.evidence
    asked: list[tuple[str, object]] = [
        ("triggers answered", f"{evidence['triggers_answered']} of {evidence['triggers']}"),
        ("decoys answered", f"{evidence['decoys_answered']} of {evidence['decoys']}"),
        ("different answers", f"{evidence['different_answers']} of {evidence['classes']} classes"),
    ]
    p_values: list[tuple[str, object]] = [("  beside the decoys", format_p(evidence["log10_p_decoys"]))]
    matches: list[tuple[str, object]] = [("decoys that match", f"{100 * evidence['decoy_rate']:.1f} %")]
    if evidence["keyed"]:
        one_secret = ("  of the labels, one secret", format_p(evidence["log10_p_labels"]))
        tries = ("  secrets to choose from", f"10^{evidence['log10_secrets_tried']:.1f}")
        p_values = [one_secret, tries, *p_values]
    if evidence["control_matches"]:
        p_values.append(("  beside the best control", format_p(evidence["log10_p_controls"])))
        told = ", ".join(map(str, evidence["control_matches"]))
        matches.append(("triggers that controls match", told))
    if evidence["answers_of_no_class"]:
        asked.append(("answers of no class", evidence["answers_of_no_class"]))
    kind = "from a secret" if evidence["keyed"] else "chosen by somebody"
    return [
        ("triggers", f"{evidence['triggers']}, {kind}"),
        ("statistic", verdict.statistic),
        ("p-value", f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"),
        *p_values,
        *matches,
        *asked,
    ]


def _given(option: str, path: Path | None, hint: str) -> Path:
    from ticket_sig.errors import bad_input

    if path is None:
        raise bad_input("", option, "a path", "none", hint=hint)
    return path


def _ask(asked: Asked, triggers: TriggerSet, bars: Progress) -> tuple[Ask | None, str | None]:
    """How to ask the suspect (None: it was asked by hand), and the name of its data set if that is known."""
    from ticket_sig.errors import about
    from ticket_sig.formats import load

    if asked.answers is not None:
        return None, None
    if asked.model is None:
        return _server(asked, triggers, bars), asked.dataset
    with about(asked.model):
        ticket = load(asked.model).ticket
        ask = _network(ticket, triggers.size[2], arch=asked.arch, dataset=asked.dataset)
        return ask, asked.dataset or (ticket.recipe or {}).get("dataset")


def _network(ticket: Ticket, channels: int, **names: str | None) -> Ask:
    from ticket_sig.verification.ask.network import ask_network, network_of

    return ask_network(*network_of(ticket, channels, **names))


def _data(asked: Asked, dataset: str | None) -> Dataset | None:
    """What accuracy is measured on; None where nobody asked for it."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.errors import bad_input

    if not (asked.data or asked.dataset == "digits") or (asked.answers and not asked.data):
        return None
    if asked.answers:
        raise bad_input("", "--data", "a suspect that can be asked about them", "--answers")
    if dataset is None:
        raise bad_input("", "--data", "the name of the data set, too", "none", hint="name it: --dataset")
    return load_dataset(dataset, asked.data)


def _queries(asked: Asked, claim: Claim, triggers: TriggerSet) -> Queries:
    """The queries of the record, or new ones, which the record is to hold."""
    from ticket_sig.verification.queries import prepare, read_queries, write_record

    path = asked.queries
    if asked.answers is not None:
        path = _given("--queries", path, "the record that `ticket-sig queries --out DIR` wrote")
        return read_queries(path, claim, triggers)
    if path is not None and path.exists():
        return read_queries(path, claim, triggers)
    queries = prepare(claim, triggers, asked.decoys)
    if path is not None:
        write_record(queries, path)
    return queries


def _server(asked: Asked, triggers: TriggerSet, bars: Progress) -> Ask:
    from ticket_sig.errors import bad_input
    from ticket_sig.verification.ask.inference_server import Manner, ask_server
    from ticket_sig.verification.ask.pixels import normalisation_of

    if asked.url is None or asked.name is None:
        raise bad_input("", "--model", "the model's name on the server", "none")
    manner = Manner(
        timeout=asked.timeout,
        retries=asked.retries,
        rate=asked.rate,
        batch=asked.batch,
        scale=asked.pixels,
        normalisation=normalisation_of(asked.dataset, triggers.size[2]) if asked.dataset else None,
        token=_token(asked.token_env),
    )
    return ask_server(asked.url, asked.name, triggers.classes, manner, bars)


def _token(variable: str | None) -> str | None:
    from ticket_sig.errors import bad_input

    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise bad_input("", "--token-env", "the name of an environment variable that is set", repr(variable))
    return token
