"""FreezeNet, ablation: why our learning curve is not the paper's; one change of our training at a time.

The author's first code (github.com/teobouvard/study, `miniproject`) trains with Adam, dropout of 0.25 behind
every pooling and of 0.5 before the last layer, and without crops and flips; ours with SGD and none of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from experiments.freezenet import trained_networks as networks
from experiments.freezenet.learning_ability import PUBLISHED
from experiments.lib.bench import Bench
from experiments.lib.showing import Result, summary
from ticket_sig.cells import Cell, Measured
from ticket_sig.marks import Watermark
from ticket_sig.mask import Mask
from ticket_sig.models.freezenet import FreezeNet
from ticket_sig.training import Recipe, Steps
from ticket_sig.training.evaluate import accuracy
from ticket_sig.training.loop import Run

TITLE = "FreezeNet: learning ability, one change at a time"
ABOVE, BELOW = 0.9, 0.5  # shares at which ours is above the paper's, and below it
AFTER_POOLING, BEFORE_LAST, ADAM_LR = 0.25, 0.5, 0.001
# Of the author's first code after 50 epochs, by share: accuracy in training, with dropout; on the test split.
FIRST_CODE = {0.3: (0.792, 0.787), 0.6: (0.551, 0.560), 0.9: (0.220, 0.271)}


@dataclass(frozen=True)
class Change:
    """What is not as in the learning curve.

    Attributes:
        dropout: whether the network has the author's.
        adam: whether it is trained as the author does, with Adam at a learning rate that stays.
        norms: whether a watermark may fix parameters of batch norms.
        scale: of the watermark's values (`derive`).
        times: how often as long it is trained.
    """

    dropout: bool = False
    adam: bool = False
    norms: bool = True
    scale: str = "unit"
    times: int = 1


# In words: what is changed, and at which shares.
CHANGES = {
    "dropout": (Change(dropout=True), (ABOVE, BELOW)),
    "dropout, Adam, no crops or flips": (Change(dropout=True, adam=True), (ABOVE,)),
    "no parameter of a batch norm fixed": (Change(norms=False), (ABOVE,)),
    "Adam, no crops or flips": (Change(adam=True), (ABOVE,)),
    "twice as long": (Change(times=2), (BELOW, ABOVE)),
    "values no larger than initial weights": (Change(scale="layer"), (ABOVE,)),
}


def trainings(bench: Bench) -> list[tuple[str, float]]:
    """What is changed, and at which share; at the smallest scale, which shows that it runs, a few."""
    every = [(words, share) for words, (_, shares) in CHANGES.items() for share in shares]
    return every[2:4] if bench.scale.name == "smoke" else every


def cells(bench: Bench) -> list[Cell]:
    """Those of the learning curve, then every change."""
    shares = sorted({share for _, share in trainings(bench)})
    changed = [trained(bench, words, share) for words, share in trainings(bench)]
    return [*(networks.learning(bench, share, 0) for share in shares), *changed]


def trained(bench: Bench, words: str, share: float) -> Cell:
    """A network of the first seed, trained with a watermark and one change; killed, it begins anew."""
    change, _ = CHANGES[words]
    recipe = recipe_of(bench, change)

    def measure() -> Measured:
        data = bench.data(recipe.dataset)
        model = bench.network(networks.ARCH, recipe.dataset, recipe.seed)
        assert isinstance(model, FreezeNet)
        if change.dropout:
            drop(model)
        own = bench.native(recipe)
        made = bench.engine.prepare(model, own.precision)
        run = Run(model, data, own, bench.engine, Mask({}), marks=[watermark(bench, change, share)])
        if change.adam:
            run.iteration.optimizer = torch.optim.Adam(model.parameters())
        bench.engine.progress.begin(f"FreezeNet, share {share}", run.total)
        while run.step < run.total:
            run.advance()
        return {
            "accuracy": accuracy(model, data.test, data, bench.engine.device, "float32") / 100,
            "epochs": run.epochs,
            "made_with": made,
        }

    title = [words, f"share {share}"]
    return bench.cell("freezenet ablation", measure, recipe, words=title, share=share, **vars(change))


def recipe_of(bench: Bench, change: Change) -> Recipe:
    """The recipe of the learning curve, with the change."""
    recipe = networks.recipe_of(bench, 0)
    recipe = replace(recipe, length=Steps(change.times * recipe.length.count))
    if not change.adam:
        return recipe
    return replace(recipe, schedule="step", lr=ADAM_LR, crop=0, flip=False)


def watermark(bench: Bench, change: Change, share: float) -> Watermark:
    """That of the learning curve, with the change."""
    usual = networks.watermark(bench, share, 0)
    shapes = {
        f"{prefix}.{name}": tuple(p.shape)
        for prefix, module in bench.network(networks.ARCH, networks.size(bench).dataset).named_modules()
        for name, p in module.named_parameters(recurse=False)
        if change.norms or not isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
    }
    return Watermark(usual.data, usual.length, scale=change.scale, manifest=shapes)


def drop(model: FreezeNet) -> None:
    """Gives a network the author's dropout."""
    for one in model.modules():
        if isinstance(one, nn.MaxPool2d):
            one.register_forward_hook(lambda m, _, y: F.dropout(y, AFTER_POOLING, m.training))
    model.fc.register_forward_pre_hook(lambda m, x: F.dropout(x[0], BEFORE_LAST, m.training))


def result(bench: Bench) -> Result:
    """Ours as in the learning curve, then with every change, beside the paper's."""
    rows, told = list[tuple[object, ...]](), list[str]()
    for share in sorted({share for _, share in trainings(bench)}):
        usual = [v["accuracy"] for v in networks.of_share(bench, networks.learning, share)]
        rows.append((share, "as in the learning curve", summary(usual, 3), "", PUBLISHED[share]))
        told.append(f"share {share}, as it is: {summary(usual, 3)}, the paper: {PUBLISHED[share]}")
        for words in (words for words, at in trainings(bench) if at == share):
            found = bench.store.measured(trained(bench, words, share))
            reached = f"{found['accuracy']:.3f}" if found else "not run"
            loss = f"{found['epochs'][-1]['loss']:.2f}" if found else ""
            rows.append((share, words, reached, loss, ""))
            told += [f"{words}, share {share}: {reached}"] if found else []
    first = "; ".join(f"{share}: {own:.3f}, {test:.3f}" for share, (own, test) in FIRST_CODE.items())
    notes = [
        f"One seed. Dropout: the author's, of {AFTER_POOLING} behind every pooling and of {BEFORE_LAST} "
        f"before the last layer. Adam: learning rate {ADAM_LR}, which stays.",
        "The author's first code after 50 epochs, by share, accuracy in training (with dropout) and on the "
        f"test split: {first}.",
    ]
    columns = "share | training | accuracy | loss of the last epoch | paper, 100 epochs"
    return networks.shown(columns, rows, notes, [], found="; ".join(told))
