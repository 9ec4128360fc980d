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
    from ticket_sig.signatures.triggers import TriggerSet
    from ticket_sig.training.progress import Progress
    from ticket_sig.verification.black_box import Ask
    from ticket_sig.verification.fidelity import Fidelity
    from ticket_sig.verification.verdict import Verdict

Decoys = Annotated[int, typer.Option(help="Unrelated images to ask about beside the triggers.")]


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
    from ticket_sig.datasets import load_dataset
    from ticket_sig.verification.ask.answers_file import read_answers, read_queries
    from ticket_sig.verification.black_box import judge as judge_answers
    from ticket_sig.verification.black_box import verify_answers
    from ticket_sig.verification.fidelity import fidelity_of_answers

    triggers = triggers_of(claim, asked.triggers)
    if asked.answers is not None:
        queries = read_queries(_given("--queries", asked.queries, "written by `queries`"), claim, triggers)
        return judge_answers(claim, queries, read_answers(asked.answers, len(queries))), None
    data = load_dataset(asked.dataset, asked.data) if asked.dataset and asked.data else None
    with progress() as bars:
        ask = _model_file(asked, triggers) if asked.model else _server(asked, triggers, bars)
        verdict = verify_answers(claim, triggers, ask, decoys=asked.decoys)
        return verdict, fidelity_of_answers(ask, data, claim.accuracy) if data else None


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
    from ticket_sig.verification.statistics import format_p
    from ticket_sig.verification.verdict import LOG10_THRESHOLD

    evidence = verdict.evidence
    keyed = [
        ("  of the labels, one secret", format_p(evidence["log10_p_labels"])),
        ("  secrets to choose from", f"10^{evidence['log10_secrets_tried']:.1f}"),
    ]
    return [
        (
            "triggers",
            f"{evidence['triggers']}, {'from a secret' if evidence['keyed'] else 'chosen by somebody'}",
        ),
        ("statistic", verdict.statistic),
        ("p-value", f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"),
        *(keyed if evidence["keyed"] else []),
        ("  beside the decoys", format_p(evidence["log10_p_decoys"])),
        ("decoys that match", f"{100 * evidence['decoy_rate']:.1f} %"),
        ("triggers answered", f"{evidence['triggers_answered']} of {evidence['triggers']}"),
        ("decoys answered", f"{evidence['decoys_answered']} of {evidence['decoys']}"),
        ("different answers", f"{evidence['different_answers']} of {evidence['classes']} classes"),
    ]


def _given(option: str, path: Path | None, hint: str) -> Path:
    from ticket_sig.errors import bad_input

    if path is None:
        raise bad_input("", option, "a path", "none", hint=hint)
    return path


def _model_file(asked: Asked, triggers: TriggerSet) -> Ask:
    from ticket_sig.errors import about
    from ticket_sig.formats import load
    from ticket_sig.verification.ask.network import ask_network, network_of

    assert asked.model is not None
    with about(asked.model):
        ticket = load(asked.model).ticket
        return ask_network(*network_of(ticket, triggers.size[2], arch=asked.arch, dataset=asked.dataset))


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
