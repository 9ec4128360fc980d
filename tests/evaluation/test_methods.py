"""Every mark as a method: made of a secret, put in as its owner would, and read with no word of its kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import taught
from support.extending import SignBits

from ticket_sig import InputError, Ticket
from ticket_sig.digests import tensor_digest
from ticket_sig.evaluation.method import EvaluationTask
from ticket_sig.evaluation.methods import METHODS, method
from ticket_sig.evaluation.of_mark import OfMark, OneMark, batch_for
from ticket_sig.marks import MARKS, TriggerMark
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.mark import Mark
from ticket_sig.training import Steps
from ticket_sig.verdict import LOG10_THRESHOLD, Symbols, Verdict

KINDS: list[type[Mark]] = [*MARKS.values(), SignBits]
SECRET = bytes(range(32))
Subjects = dict[str, Ticket]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def of_mark(request: pytest.FixtureRequest) -> OfMark:
    return OfMark(request.param)


def test_every_mark_is_a_method_and_so_is_the_mask() -> None:
    assert set(METHODS) == {*MARKS, "mask-fingerprint"}
    for name in METHODS:
        made = method(name)
        assert made.name == name
        assert (made.subject == "ticket") is (made.stands_in == "mask")


def test_a_mark_is_put_in_and_found(of_mark: OfMark, digits: EvaluationTask, subjects: Subjects) -> None:
    before = subjects[of_mark.subject]
    digest = tensor_digest(before.weights)
    one = of_mark.instance(before, SECRET, digits)
    marked = one.inject(before, digits)
    assert tensor_digest(before.weights) == digest
    assert (marked is before) is of_mark.passive
    assert marked.mask.kept == before.mask.kept
    found = one.test(marked, digits)
    assert found.log10_p is not None and found.detected is (found.log10_p < LOG10_THRESHOLD)
    if of_mark.stands_in == "answers":  # three steps teach no triggers
        assert marked.history[-1].triggers is not None and not found.detected
    else:
        assert found.detected
        # Of a code that corrects errors, some bits may be too weak to be made right.
        most = 0.01 * len(found.symbols.claimed) if found.symbols and issubclass(of_mark.kind, Carrier) else 0
        assert found.symbols is None or found.symbols.errors <= most
    if not of_mark.passive:
        assert marked.history[-1].step == "train" and not one.test(before, digits).detected
    assert (found.symbols is None) is (of_mark.carries == "nothing")
    assert found.symbols is None or len(found.symbols.claimed) >= 64


def test_key_and_payload_follow_from_the_secret(
    of_mark: OfMark, digits: EvaluationTask, subjects: Subjects
) -> None:
    network = subjects[of_mark.subject]
    digests = [of_mark.instance(network, bytes([n]) * 32, digits).digest for n in (1, 1, 2, 3)]
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_triggers_are_asked_of_the_network_in_this_process(
    digits: EvaluationTask, subjects: Subjects
) -> None:
    def ticket(knows: bool) -> Ticket:
        tensors = taught.network(taught=knows).state_dict()
        return Ticket(weights={n: t.detach() for n, t in tensors.items()}, mask=subjects["dense"].mask)

    one = OfMark(TriggerMark).instance(ticket(True), SECRET, digits)
    right, wrong, again = (one.test(ticket(knows), digits) for knows in (True, False, True))
    assert right.detected and not wrong.detected
    assert right.symbols and right.symbols.claimed == tuple(taught.triggers().split.labels.tolist())
    assert right.symbols.errors == 0 and wrong.symbols and wrong.symbols.errors > 50
    assert again == right  # the same decoys


def test_a_short_training_sees_each_trigger_often(digits: EvaluationTask) -> None:
    split = taught.triggers().split
    sizes = {
        epochs: batch_for(split, replace(digits, further=replace(digits.further, length=Steps(epochs)))).size
        for epochs in (1, 9, 200)
    }
    assert sizes == {1: 32, 9: 25, 200: 4}


def test_a_size_is_the_payload_s(digits: EvaluationTask, subjects: Subjects) -> None:
    for name, size in (
        ("uchida", 40),
        ("freezenet", 10),
        ("qr-code", 64),
        ("spread", 64),
        ("trigger-set", 50),
    ):
        made = method(name, size=size)
        one = made.instance(subjects[made.subject], SECRET, digits)
        found = one.test(subjects[made.subject], digits)
        assert made.options == {"size": size} and found.symbols
        # Of a code all modules, or bits, are symbols, those of its error correction, too.
        assert name in ("qr-code", "spread") or len(found.symbols.claimed) == size


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("nonsense", None, "method: expected one of qr-code, .*, found 'nonsense'"),
        ("uchida", 0, "uchida: size: expected 1 or more, found 0"),
        ("uchida", 5000, "model: capacity: expected a layer with 5000 weights in a filter"),
        ("qr-code", 60, "qr-code: size: expected bits of a text, 8 for each of its characters, found 60"),
        ("qr-code", 8000, "message: "),
        ("freezenet", 10**7, "freezenet: length: "),
        ("trigger-set", 10**6, "triggers: count: "),
        ("spread", 60, "spread: size: expected bits of a text, 8 for each of its characters, found 60"),
        ("key-mask", 5, "key-mask: size: expected none: it carries nothing, found 5"),
        ("mask-fingerprint", 5, "mask-fingerprint: size: expected none"),
    ],
)
def test_a_payload_that_does_not_fit_is_one_line(
    name: str, size: int | None, says: str, digits: EvaluationTask, subjects: Subjects
) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        made = method(name, size=size)
        made.instance(subjects[made.subject], SECRET, digits)


def test_a_mark_that_lacks_a_date_alone_is_detected_by_who_knows_it() -> None:
    class Fixed:
        log10_p = -50.0

    verdict = Verdict(mark="m", reading=Fixed(), statistic="", proves="", does_not_prove="", lacking="a date")  # type: ignore[arg-type]
    assert not verdict.detected and not replace(verdict, undated=True).verified
    assert replace(verdict, undated=True).detected and replace(verdict, lacking="").detected


def test_a_killed_injection_goes_on_in_its_folder(
    digits: EvaluationTask, subjects: Subjects, tmp_path: Path
) -> None:
    task, network = replace(digits, folder=tmp_path), subjects["dense"]
    one = method("uchida").instance(network, SECRET, task)
    first = one.inject(network, task)
    again = method("uchida").instance(network, SECRET, task).inject(network, task)
    assert first.history == again.history  # read, not trained again: the seconds are the same
    assert isinstance(one, OneMark) and len(list(tmp_path.iterdir())) == 1


def test_symbols_are_counted_one_by_one() -> None:
    assert Symbols((1, 0, 2, 3), (1, 1, 2, None)).errors == 2
