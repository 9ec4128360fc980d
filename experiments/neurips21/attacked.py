"""A trained model under an attack, as a cell: accuracy, what is read, verdict, trigger answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from experiments.lib.bench import Bench
from experiments.lib.scales import Subject
from experiments.lib.showing import summary
from experiments.neurips21.retrained import cell, how_taught, on_triggers, train_intact, train_taught
from ticket_sig.attacks import Attack, Attacked, Scene, attack
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.report import attack_report
from ticket_sig.cells import Cell, Measured
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.marks.qr_code.reading import CodeReading
from ticket_sig.ticket import Ticket
from ticket_sig.training.device import made_with

FORGED = "my network"
FINE_TUNING_RATE = 0.02
_LATER = {("scope", "global")}  # options of attacks that were not there when the first cells were measured

MODELS: dict[str, Callable[[Bench, Subject, int], Ticket]] = {
    "shipped": lambda bench, subject, _: bench.signed(subject).ticket,
    "intact": lambda bench, subject, seed: train_intact(bench, subject, seed).ticket,
    "taught": lambda bench, subject, seed: train_taught(bench, subject, seed).ticket,
}


def attacked(
    bench: Bench, subject: Subject, model: str, name: str | None, seed: int = 0, **options: Any
) -> Cell:
    """A model (shipped, intact or taught) under an attack of the registry; without a name as it is.

    Options are the attack's, and: `insider` (knows the place), `other` (trains on the other data set), `then`
    (fine-tunes for so many epochs after it).
    """
    scene: dict[str, Any] = {key: options.pop(key) for key in ("insider", "other", "then") if key in options}
    made = attack(name, **options) if name else None
    # An option that came later, and is left as it always was, decides nothing.
    given = {key: value for key, value in vars(made).items() if (key, value) not in _LATER} if made else {}
    decides: dict[str, Any] = {"model": model, "attack": name, "options": given, **scene}
    if model == "taught":
        decides["triggers"] = how_taught(bench, subject)
    if "then" in scene:
        decides["then"] = vars(FineTuning(epochs=scene["then"], lr=FINE_TUNING_RATE))

    def measure() -> Measured:
        before = MODELS[model](bench, subject, seed)
        return _measure(bench, subject, before, made, seed, decides)

    words = [f"{key} {value}" for key, value in (*options.items(), *scene.items())]
    title = " ".join(["attacked", model, name or "as it is", *words])
    return cell(bench, title, subject, measure, seed=seed, **decides)


def at_rate(
    bench: Bench, subject: Subject, model: str, name: str, rate: float, seeds: Sequence[int], **options: Any
) -> list[Cell]:
    """A model of each seed under an attack at a rate; at 0 as it is."""
    if not rate:
        return [attacked(bench, subject, model, None, seed) for seed in seeds]
    return [attacked(bench, subject, model, name, seed, rate=rate, **options) for seed in seeds]


def _measure(
    bench: Bench, subject: Subject, before: Ticket, made: Attack | None, seed: int, decides: dict[str, Any]
) -> Measured:
    other, then, taught = (decides.get(key) for key in ("other", "then", "triggers"))
    claim, recipe = bench.signed(subject).claim, bench.recipe(subject, seed)
    scene = Scene(
        data=bench.data(subject.other if other else subject.dataset),
        recipe=recipe,
        engine=bench.engine,
        run=bench.folder_of("attacked", {**decides, "seed": seed, "weights": tensor_digest(before.weights)}),
        seed=seed,
        place=of_kind(CodeMark, claim) if decides.get("insider") else None,
    )
    after, forged, *_ = made.carry_out(before, scene) if made else Attacked(before)
    if then:
        after = FineTuning(**then)(after, scene)
    judged = replace(scene, recipe=replace(recipe, precision="float32"))
    report = attack_report(before, after, judged, claim=claim, forged=forged)
    decision = report.marks[CodeMark.name].after
    read = decision.verdict and decision.verdict.reading
    assert read is None or isinstance(read, CodeReading)
    return {
        "accuracy": report.accuracy[1],
        "before": report.accuracy[0],
        "kept": after.mask.kept,
        "total": before.mask.total,
        "verdict": decision.outcome,
        "log10_p": decision.verdict.log10_p if decision.verdict else None,
        "message": decision.message,
        "matches": read and read.matches,
        "modules": read and read.modules,
        "module_map": read and read.module_map,
        "forged": report.forged.outcome if report.forged else None,
        "outcome": report.outcome,
        "triggers": on_triggers(bench, subject, after.weights, seed) if taught and not other else None,
        "made_with": made_with(bench.engine.device, "float32"),
    }


def reading(values: Sequence[Measured]) -> str:
    """What is read and decided over seeds: `signature` 3/3, verified 3/3 (p <= 1e-85)."""
    if not values:
        return "not run"
    read = sum(value["message"] == "signature" for value in values)
    verified = [value["log10_p"] for value in values if value["verdict"] == "verified"]
    worst = f" (p < 1e{int(max(verified))})" if verified else ""
    return f"read {read}/{len(values)}, verified {len(verified)}/{len(values)}{worst}"


def accuracy(values: Sequence[Measured]) -> str:
    """Mean and spread of the accuracy after the attack."""
    return summary([value["accuracy"] for value in values])
