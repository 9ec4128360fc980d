"""One level of a search: a mask, trained from the rewind weights, in a folder of its own.

A finished level is read, not trained again; a half-finished one goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.files import read_json, write_json
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.mask import Mask
from ticket_sig.ticket import Round, Ticket
from ticket_sig.training.device import made_with
from ticket_sig.training.evaluate import accuracy
from ticket_sig.training.loop import Engine, train
from ticket_sig.training.recipe import Recipe

_MASK, _MODEL, _REWIND, _STATE, _RESULT = (
    "mask.safetensors",
    "model.safetensors",
    "rewind.safetensors",
    "state.safetensors",
    "result.json",
)


def train_level(
    folder: Path,
    model: nn.Module,
    start: Mapping[str, Tensor],
    mask: Mask,
    data: Dataset,
    recipe: Recipe,
    engine: Engine,
    *,
    step: str,
    label: str,
    rate: float | None = None,
    start_step: int = 0,
    rewind: Mapping[str, Tensor] | None = None,
) -> Ticket:
    """Trains `start` under a mask and returns the ticket, with one entry of history.

    Args:
        folder: of this level alone.
        model: any network that `start` loads into; its weights are overwritten.
        step: "dense", "prune" or "train", for the history.
        rewind: what the ticket goes back to; None = put the weights aside at the recipe's rewind step.

    Raises:
        InputError: the folder holds another level, or training failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _RESULT).exists():
        return _finished(folder, mask, rewind, recipe)
    write_safetensors(folder / _MASK, mask)
    model.load_state_dict({name: t.clone() for name, t in start.items()})
    trained = train(
        model,
        data,
        recipe,
        engine,
        mask=mask,
        start=start_step,
        state=folder / _STATE,
        label=label,
        snapshot=None if rewind is not None else lambda weights: write_safetensors(folder / _REWIND, weights),
    )
    write_safetensors(folder / _MODEL, trained.weights)
    entry = Round(
        step=step,
        kept=mask.kept,
        total=mask.total,
        rate=rate,
        validation=trained.epochs[-1]["validation"] if trained.epochs else None,
        test=accuracy(model, data.test, data, engine.device, recipe.precision),
        epochs=len(trained.epochs),
        seconds=round(trained.seconds, 1),
        made_with=made_with(engine.device, recipe.precision),
    )
    write_json(folder / _RESULT, entry.to_json())
    (folder / _STATE).unlink(missing_ok=True)
    return _finished(folder, mask, rewind, recipe)


def _finished(folder: Path, mask: Mask, rewind: Mapping[str, Tensor] | None, recipe: Recipe) -> Ticket:
    if Mask(read_safetensors(folder / _MASK)) != mask:
        raise bad_input(folder / _MASK, "mask", "that of this run", "another")
    return Ticket(
        weights=read_safetensors(folder / _MODEL),
        mask=mask,
        rewind=rewind if rewind is not None else read_safetensors(folder / _REWIND),
        recipe=recipe.to_json(),
        history=(Round.from_json(read_json(folder / _RESULT)),),
    )
