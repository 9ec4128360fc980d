"""Asking a suspect, whoever it is: a model of this process, a server, or a table of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.datasets.registry import FREE
from ticket_sig.errors import about, bad_input
from ticket_sig.formats import load
from ticket_sig.marks.mark import of_kind
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.reading import check_controls
from ticket_sig.marks.trigger_set.record import DECOYS, prepare, read_queries, write_record
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.progress import Progress, Silent
from ticket_sig.ticket import Ticket
from ticket_sig.training.loop import Engine
from ticket_sig.training.subject import Subject
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import Ask, judge
from ticket_sig.verification.ask.answers_file import read_answers
from ticket_sig.verification.ask.inference_server import Manner, ask_server
from ticket_sig.verification.ask.network import ask_network, network_of
from ticket_sig.verification.ask.pixels import normalisation_of
from ticket_sig.verification.fidelity import Fidelity, fidelity_of_answers

Size = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Whom to ask, and how.

    Attributes:
        model, url, answers: the suspect, one of the three: a model file, a server's address, or a table of
            answers that were given by hand.
        name: of the model on the server.
        queries: the record of what is asked: read where it exists, to ask the same again; else written.
        controls: innocent networks, for triggers that somebody chose.
        arch, dataset: names of network and data set, where the bundles do not say.
        data: folder of the data set, to measure the accuracy by answers.
        decoys: number of unrelated images to ask about.
        manner: how a server is asked.
        sparse: as of an `Engine`, for the networks that are asked on this machine.

    Raises:
        InputError: no suspect is named, or more than one; or none is asked here, and `sparse` is of no use.
    """

    model: Path | None = None
    url: str | None = None
    answers: Path | None = None
    name: str | None = None
    queries: Path | None = None
    controls: Sequence[Path] = ()
    arch: str | None = None
    dataset: str | None = None
    data: Path | None = None
    decoys: int = DECOYS
    manner: Manner = field(default_factory=Manner)
    sparse: bool | str = False

    def __post_init__(self) -> None:
        ways = {"a model": self.model, "--url": self.url, "--answers": self.answers}
        named = [way for way, value in ways.items() if value is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise bad_input("", "suspect", "one of a model, --url and --answers", found)
        if self.sparse and self.model is None and not self.controls:
            raise bad_input("", "--sparse", "a model or a control to ask on this machine", named[0])

    @property
    def suspect(self) -> str:
        """Whom it is about, for people."""
        return f"{self.url}, model {self.name}" if self.url else str(self.model or self.answers)


def ask_suspect(
    claim: Claim, triggers: Path | None, asking: Asking, progress: Progress | None = None
) -> tuple[Verdict, Fidelity | None]:
    """Asks the suspect and decides; also how accurate it is, where there are data to ask about.

    Args:
        triggers: the set's file or folder.

    Raises:
        InputError: something is missing, or it could not be decided.
    """
    shown, progress = triggers_of(claim, triggers), progress or Silent()
    check_controls(shown, len(asking.controls))
    engine = Engine(sparse=asking.sparse, progress=progress)
    controls = controls_of(asking.controls, shown.size, asking.arch, asking.dataset, engine)
    ask, subject = _ask(asking, shown, engine)
    data = _data(asking, subject)
    queries = _queries(asking, claim, shown)
    # Controls first: what they lack is known before a server is asked, which cannot be undone.
    innocent = [control(queries.images) for control in controls]
    if asking.answers is not None:
        return judge(claim, queries, read_answers(asking.answers, len(queries)), innocent), None
    # Accuracy before the triggers: a server that fails here has not seen them, and ends no verdict.
    accuracy = fidelity_of_answers(ask, data, claim.accuracy) if data else None
    return judge(claim, queries, ask(queries.images), innocent), accuracy


def triggers_of(claim: Claim, path: Path | None) -> TriggerSet:
    """The trigger set of a claim.

    Raises:
        InputError: the claim is on none, or the set is missing, damaged or another one.
    """
    mark = of_kind(TriggerMark, claim, "give the claim that `train --triggers` wrote")
    found = mark.opened({} if path is None else {"triggers": path}, Path(claim.source))["triggers"]
    assert isinstance(found, TriggerSet)
    return found


def controls_of(
    paths: Sequence[Path], size: Size, arch: str | None, dataset: str | None, engine: Engine
) -> list[Ask]:
    """How to ask control networks; what their bundles do not say is as of the suspect.

    Args:
        size: height, width and channels of an image.
        engine: says whether they are sparse, and is told so.

    Raises:
        InputError: one is missing or damaged, or nobody says which network it is.
    """
    asks = []
    for path in paths:
        with about(path):
            ticket = load(path).ticket
            named = (None, None) if ticket.recipe else (arch, dataset)
            asks.append(_network(ticket, size, *named, engine))
    return asks


def _ask(asking: Asking, triggers: TriggerSet, engine: Engine) -> tuple[Ask, Subject]:
    """How to ask the suspect, and what it is as far as that is known."""
    named = Subject(asking.arch, asking.dataset)
    if asking.model is None:
        return (_server(asking, triggers, engine.progress) if asking.url else _nobody), named
    with about(asking.model):
        ticket = load(asking.model).ticket
        ask = _network(ticket, triggers.size, asking.arch, asking.dataset, engine)
        return ask, Subject.of(ticket, asking.arch, asking.dataset)


def _nobody(images: object) -> Sequence[int | None]:
    raise bad_input("", "suspect", "one that can be asked", "a table of answers")


def _network(ticket: Ticket, size: Size, arch: str | None, dataset: str | None, engine: Engine) -> Ask:
    network, normalisation = network_of(ticket, size[2], arch=arch, dataset=dataset)
    return ask_network(engine.for_answers(network, "float32", size), normalisation)


def _data(asking: Asking, subject: Subject) -> Dataset | None:
    """What accuracy is measured on; None where nobody asked for it."""
    if asking.answers is not None:
        if asking.data is None:
            return None
        raise bad_input("", "--data", "a suspect that can be asked about them", "--answers")
    if not (asking.data or asking.dataset == FREE):
        return None
    if subject.dataset is None:
        raise bad_input("", "--data", "the name of the data set, too", "none", hint="name it: --dataset")
    return load_dataset(subject.dataset, asking.data)


def _queries(asking: Asking, claim: Claim, triggers: TriggerSet) -> Queries:
    """The queries of the record, or new ones, which the record is to hold."""
    path = asking.queries
    if asking.answers is not None and path is None:
        hint = "the record that `ticket-sig queries --out DIR` wrote"
        raise bad_input("", "--queries", "a path", "none", hint=hint)
    if path is not None and (asking.answers is not None or path.exists()):
        return read_queries(path, claim, triggers)
    queries = prepare(claim, triggers, asking.decoys)
    if path is not None:
        write_record(queries, path)
    return queries


def _server(asking: Asking, triggers: TriggerSet, progress: Progress) -> Ask:
    if asking.url is None or asking.name is None:
        raise bad_input("", "--model", "the model's name on the server", "none")
    known = normalisation_of(asking.dataset, triggers.size[2]) if asking.dataset else None
    manner = replace(asking.manner, normalisation=known)
    return ask_server(asking.url, asking.name, triggers.classes, manner, progress)
