"""Who verifies by answers alone, and who does not: taught and innocent networks, liars, silent servers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import taught
from support.taught import DIGITS, SECRET, innocent, memoriser

from ticket_sig import InputError
from ticket_sig.claim import ClaimedMark
from ticket_sig.datasets.data import Split
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.reading import log10_p_beside, matches_needed
from ticket_sig.marks.trigger_set.record import prepare
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, TriggerSet, read_triggers
from ticket_sig.prf import keyed_words
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import Ask, judge, verify_answers

CODE = ClaimedMark("qr-code", {"message": "mine"})


def verdict(
    ask: Ask, triggers: TriggerSet | None = None, seed: int = 0, controls: Sequence[Ask] = ()
) -> Verdict:
    triggers = triggers or taught.triggers()
    nonce = np.random.default_rng(10_000 + seed).bytes(32)
    claim = claim_triggers(triggers, "sha256:none")
    return verify_answers(claim, triggers, ask, controls=controls, nonce=nonce)


def folder(path: Path, labels: list[int]) -> TriggerSet:
    """Pictures and labels that somebody chose."""
    (path / "pics").mkdir(parents=True)
    for index, pixels in enumerate(np.random.default_rng(5).integers(0, 256, (len(labels), 8, 8, 3)), 1):
        Image.fromarray(pixels.astype(np.uint8)).save(path / "pics" / f"{index}.png")
    (path / "labels.txt").write_text("\n".join(map(str, labels)))
    return read_triggers(path, DIGITS, 10)


def chosen(labels: np.ndarray) -> TriggerSet:
    """A keyed set as nobody can make it: with the labels that a liar would like best."""
    split = taught.triggers().split
    return replace(taught.triggers(), split=Split(split.images, torch.from_numpy(labels)))


@pytest.mark.parametrize("right", [1.0, 0.9, 0.6])
def test_a_network_that_was_taught_verifies(right: float) -> None:
    found = verdict(memoriser(right))
    assert found.verified and found.log10_p < (-20 if right >= 0.9 else -10)
    assert f"{found.reading.matches} of 100 triggers answered as claimed" in found.statistic
    assert "2^64" in found.proves and "who taught" in found.does_not_prove
    symbols = found.reading.symbols
    assert symbols and symbols.claimed == tuple(taught.triggers().split.labels.tolist())
    assert symbols.errors == 100 - found.reading.matches
    json.dumps(found.to_json(), allow_nan=False)


def test_triggers_and_decoys_cannot_be_told_apart_by_their_order_or_size() -> None:
    queries = prepare(taught.claim(), taught.triggers())
    again = prepare(taught.claim(), taught.triggers())
    assert queries.images.shape == (400, *DIGITS) and not np.array_equal(queries.images, again.images)
    places = np.flatnonzero(queries.order < 100)
    assert 100 < places.mean() < 300 and np.ptp(places) > 300
    triggers = [queries.images[places], np.delete(queries.images, places, 0)]
    for measure in (np.mean, np.std):
        ours, theirs = (measure(group.reshape(len(group), -1), axis=1) for group in triggers)
        assert abs(ours.mean() - theirs.mean()) < 4 * np.hypot(ours.std() / 10, theirs.std() / 300**0.5)


SHARES = {
    "even": [0.1] * 10,
    "constant": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    "biased": [0.7, 0.2, *[0.1 / 8] * 8],
}


@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize("labels", ["keyed", "the liar's"])
def test_p_values_of_innocent_networks_are_calibrated(kind: str, labels: str) -> None:
    """Of innocent networks at most a share p gets a p-value of p, whatever the labels are."""
    chances, draw = np.array(SHARES[kind], dtype=float), np.random.default_rng(0)
    answers = draw.choice(10, (4000, 400), p=chances)
    found = []
    for row in answers:
        # The best labels for a liar who knows what the network likes, and somewhat random ones.
        chosen_labels = draw.integers(0, 10, 100) if labels == "keyed" else draw.choice(10, 100, p=chances)
        rate = np.bincount(chosen_labels, minlength=10)[row[100:]].mean() / 100
        found.append(log10_p_beside(int((row[:100] == chosen_labels).sum()), 100, max(rate, 0.1), 300))
    for share in (0.3, 0.05, 0.01):
        assert (10 ** np.array(found) <= share).mean() <= share


@pytest.mark.parametrize("kind", SHARES)
def test_an_innocent_network_does_not_verify(kind: str) -> None:
    for seed in range(20):
        secret = TriggerSecret(np.random.default_rng(seed).bytes(32), 100, DIGITS, 10)
        found = verdict(innocent(SHARES[kind], seed), secret.trigger_set(), seed)
        assert not found.verified and found.log10_p > math.log10(0.05)
        assert (found.reading.different == 1) is (kind == "constant")


def test_a_liar_who_tries_many_secrets_does_not_verify() -> None:
    """He looks for labels that are mostly what an innocent network says to everything."""

    def ones(secret: bytes) -> int:
        return int((keyed_words(secret, "trigger labels 2", 100) % np.uint64(2)).sum())

    best = max((index.to_bytes(32, "big") for index in range(20_000)), key=ones)
    triggers = TriggerSecret(best, 100, DIGITS, 2).trigger_set()
    found = verdict(innocent([0, 1]), triggers)
    assert found.reading.matches == ones(best)
    # With nothing paid for the tries, and no decoys, the labels would have been some evidence.
    assert found.reading.log10_p_labels < -3.5
    assert found.log10_p == 0


def test_nor_does_one_who_found_the_labels_he_wished_for() -> None:
    """As if 2^300 secrets had been tried: the decoys tell that the network says the same to everything."""
    found = verdict(innocent(SHARES["constant"]), chosen(np.full(100, 3)))
    assert found.reading.matches == 100 and found.log10_p == 0


def test_answers_of_one_class_prove_nothing_about_labels_of_that_class_alone(tmp_path: Path) -> None:
    """A network that answers one class to the liar's pictures and others to ours."""
    triggers = folder(tmp_path, [4] * 40)
    known = {bytes(image) for image in triggers.split.images.numpy()}
    other = innocent(SHARES["even"])

    def ask(images: np.ndarray) -> list[int | None]:
        return [4 if bytes(i) in known else a for i, a in zip(images, other(images), strict=True)]

    assert verdict(ask, triggers, controls=[innocent(SHARES["even"])]).log10_p == 0


def test_a_folder_verifies_with_the_warning_that_somebody_chose_it(tmp_path: Path) -> None:
    triggers = folder(tmp_path, [index % 10 for index in range(100)])
    found = verdict(memoriser(0.9, taught=triggers), triggers, controls=[innocent(SHARES["even"], 1)])
    assert found.verified and found.reading.log10_p_controls < -20 and found.reading.keyed is False
    assert found.headline.startswith(
        "verified; holds if the claim is older than the suspect, and the controls "
    )
    told = found.to_json()["evidence"]
    assert told["log10_p_labels"] is None and told["log10_secrets_tried"] is None
    assert "somebody chose images and labels" in found.does_not_prove
    assert "was taught" not in found.proves and "dated before the suspect" in found.does_not_prove


def test_chosen_triggers_decide_nothing_without_a_control(tmp_path: Path) -> None:
    def ask(images: np.ndarray) -> list[int | None]:
        raise AssertionError("asked")

    triggers = folder(tmp_path, [index % 10 for index in range(100)])
    with pytest.raises(InputError, match=r"chosen triggers need a control network: --control MODEL"):
        verdict(ask, triggers)
    queries = prepare(claim_triggers(triggers, "sha256:none"), triggers)
    with pytest.raises(InputError, match=r"control: expected an innocent network of the same task"):
        judge(claim_triggers(triggers, "sha256:none"), queries, [0] * 400)


def test_true_labels_of_photographs_prove_nothing(tmp_path: Path) -> None:
    """Every honest network knows them: the verdict was 10^-22.9 beside abstract decoys alone."""
    triggers = folder(tmp_path, [index % 10 for index in range(100)])
    honest = [memoriser(right, seed, triggers) for seed, right in enumerate((0.96, 0.93, 0.9))]
    alone = verdict(honest[0], triggers, controls=[innocent(SHARES["even"])])
    assert alone.verified, "what a control that does not know the task lets through"
    found = verdict(honest[0], triggers, controls=honest[1:])
    assert not found.verified and found.log10_p > -1 > -20 > found.reading.log10_p_decoys
    assert len(found.reading.control_matches) == 2


def test_the_best_control_decides(tmp_path: Path) -> None:
    triggers = folder(tmp_path, [index % 10 for index in range(100)])
    suspect = memoriser(1.0, 0, triggers)

    def beside(*rights: float) -> float:
        controls = [memoriser(right, 1, triggers) for right in rights]
        return float(verdict(suspect, triggers, controls=controls).reading.log10_p_controls)

    assert beside(0.1, 0.5) == beside(0.5, 0.1) == beside(0.5) > beside(0.1)
    with pytest.raises(InputError, match="control 1: expected an answer to every trigger, found 100 missing"):
        verdict(suspect, triggers, controls=[lambda images: [None] * len(images)])


def test_p_values_beside_a_control_are_calibrated() -> None:
    """Of innocent suspects at most a share p gets a p-value of p, also where images differ in difficulty."""
    draw = np.random.default_rng(0)
    chances = draw.uniform(0.2, 1.0, 100)
    counts = (draw.random((4000, 2, 100)) < chances).sum(2)
    found = [log10_p_beside(int(suspect), 100, control / 100, 100) for suspect, control in counts]
    for share in (0.3, 0.05, 0.01):
        assert (10 ** np.array(found) <= share).mean() <= share


def test_what_a_server_does_not_answer_counts_as_not_matched() -> None:
    ask, claim, triggers = memoriser(), taught.claim(), taught.triggers()
    queries = prepare(claim, triggers)
    answers = list(ask(queries.images))
    asked_triggers = np.flatnonzero(queries.order < 100)
    for place in [*asked_triggers[:30], *np.flatnonzero(queries.order >= 100)[:150]]:
        answers[place] = None
    found = judge(claim, queries, answers)
    assert found.verified
    assert (found.reading.matches, found.reading.triggers_answered) == (70, 70)
    assert found.reading.decoys_answered == 150
    for place in asked_triggers:
        answers[place] = None
    refused = judge(claim, queries, answers)
    assert not refused.verified and refused.reading.matches == 0
    assert refused.reading.symbols and set(refused.reading.symbols.read) == {None}


def test_too_few_answers_decide_nothing() -> None:
    def ask(images: np.ndarray) -> list[int | None]:
        return [0 if index % 20 == 0 else None for index in range(len(images))]

    with pytest.raises(InputError, match="answers to decoys: expected at least 30, found"):
        verdict(ask)


def test_answers_dropped_at_random_are_no_way_out() -> None:
    """A thief who drops 60 % of all images, of 100 classes: 40 triggers match where one is expected."""
    shown = TriggerSecret(bytes(32), 100, (8, 8, 1), 100).trigger_set()
    ask, draw = memoriser(taught=shown), np.random.default_rng(0)

    def silent(images: np.ndarray) -> list[int | None]:
        return [None if draw.random() < 0.6 else answer for answer in ask(images)]

    found = verify_answers(claim_triggers(shown, "sha256:none"), shown, silent)
    assert found.verified and found.reading.decoys_answered < 150


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (2.0, "answer 8: expected a whole number, found 2.0"),
        ("3", "answer 8: .* found '3'"),
    ],
)
def test_an_answer_that_is_no_label_is_named(answer: object, words: str) -> None:
    def ask(images: np.ndarray) -> list[int | None]:
        return [answer if index == 7 else 0 for index in range(len(images))]  # type: ignore[misc]

    with pytest.raises(InputError, match=words):
        verdict(ask)


@pytest.mark.parametrize("label", [10, -1, -2, 10**30])
def test_a_class_more_saves_no_thief(label: int) -> None:
    """Answers that are no class of the claim's count, and match nothing."""
    ask = memoriser()

    def more(images: np.ndarray) -> list[int | None]:
        return [label if index % 4 == 0 else answer for index, answer in enumerate(ask(images))]

    found = verdict(more)
    assert found.verified and found.reading.matches < 100
    assert (found.reading.no_class, found.reading.triggers_answered) == (100, 100)
    assert found.reading.different <= 10
    nothing = verdict(lambda images: [label] * len(images))
    assert not nothing.verified and nothing.log10_p == 0 and nothing.reading.decoys_answered == 300


def test_the_published_verdict_does_not_tell_triggers_from_decoys() -> None:
    nonce = bytes(range(32))
    found = verify_answers(taught.claim(), taught.triggers(), memoriser(), nonce=nonce)
    assert nonce.hex() not in json.dumps(found.to_json())
    assert found.to_json()["evidence"]["nonce_digest"] == f"sha256:{hashlib.sha256(nonce).hexdigest()}"


@pytest.mark.parametrize(("count", "classes"), [(110, 1000), (330, 10), (1000, 1000)])
def test_a_p_value_too_small_for_a_float_is_one(count: int, classes: int) -> None:
    triggers = TriggerSecret(bytes(32), count, (2, 2, 1), classes).trigger_set()
    found = verdict(memoriser(taught=triggers), triggers)
    assert found.verified and math.isfinite(found.reading.log10_p_labels)
    assert found.reading.log10_p_labels == pytest.approx(-count * math.log10(classes), abs=0.01)
    assert "p_value" in json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("count", [0, 399, 401])
def test_a_wrong_number_of_answers_is_named(count: int) -> None:
    with pytest.raises(InputError, match=f"answers: expected 400, one for every image, found {count}"):
        verdict(lambda images: [0] * count)


def test_numpy_answers_are_fine() -> None:
    ask = memoriser()
    assert verdict(lambda images: np.array(ask(images))).verified  # type: ignore[arg-type, return-value]


def test_a_set_that_is_not_the_claim_s_is_refused_before_anything_is_asked() -> None:
    def ask(images: np.ndarray) -> list[int | None]:
        raise AssertionError("asked")

    other = replace(SECRET, secret=bytes(32)).trigger_set()
    with pytest.raises(InputError, match="triggers: commitment: expected the claim's sha256"):
        verify_answers(taught.claim(), other, ask)
    with pytest.raises(InputError, match="claim: marks: expected 'trigger-set', found 'qr-code'"):
        verify_answers(replace(taught.claim(), marks=(CODE,)), taught.triggers(), ask)
    for decoys in (99, 100_001):
        with pytest.raises(InputError, match="decoys: expected 100 to 100000"):
            verify_answers(taught.claim(), taught.triggers(), ask, decoys=decoys)
    large = TriggerSecret(bytes(32), 1, (1024, 1024, 4), 10).trigger_set()
    with pytest.raises(InputError, match="decoys: images: expected at most 256 MiB in all, found"):
        verify_answers(claim_triggers(large, "sha256:none"), large, ask)
    with pytest.raises(InputError, match="nonce: expected 32 bytes, found 3"):
        verify_answers(taught.claim(), taught.triggers(), ask, nonce=b"abc")


def test_fewer_classes_need_more_matches() -> None:
    needed = {classes: matches_needed(100, classes) for classes in (2, 10, 100)}
    assert needed == {2: 98, 10: 53, 100: 24}
    assert matches_needed(80, 2) is None
    secret = TriggerSecret(bytes(32), 100, DIGITS, 2)
    triggers = secret.trigger_set()
    assert verdict(memoriser(taught=triggers), triggers).verified
