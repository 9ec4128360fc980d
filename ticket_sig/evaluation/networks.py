"""The networks of an evaluation, each made once and kept: initial, pruned, unmarked, marked and modified.

A network is found by the digest of all that decides it. So the unmarked networks and their modified copies
are shared by all methods, and a killed evaluation goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from ticket_sig.attacks import Scene
from ticket_sig.datasets import Dataset
from ticket_sig.digests import bytes_digest, short_digest, tensor_digest
from ticket_sig.evaluation.method import EvaluationTask, Instance, Method
from ticket_sig.evaluation.modifications import FurtherMarks
from ticket_sig.evaluation.settings import OVERWRITING, Applied, Settings, instance_secret, secret_of
from ticket_sig.files import make_folder
from ticket_sig.formats import load, save
from ticket_sig.formats.bundle import is_bundle
from ticket_sig.lottery import find
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket
from ticket_sig.training.device import pick_device
from ticket_sig.training.loop import Engine, plain_weights
from ticket_sig.training.recipe import Recipe

Identity = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a process must know to work on an evaluation; where there are several, it is sent to each.

    Attributes:
        settings: what is measured.
        out: the folder of the evaluation.
        make_methods, make_data: what the settings name.
        make_model: makes a network of the user's own from a seed, in place of the recipe's.
        device: where networks are trained.
        sparse: as of an `Engine`, in the trainings.
    """

    settings: Settings
    out: Path
    make_methods: Callable[[], Sequence[Method]]
    make_data: Callable[[], Dataset]
    make_model: Callable[[int], nn.Module] | None = None
    device: str = "cpu"
    sparse: bool | str = False


class Networks:
    """Makes the networks and instances of an evaluation, or finds them.

    Attributes:
        work: folder of the networks.
    """

    def __init__(self, evaluation: Evaluation, *, keep_memory: bool = True) -> None:
        self.evaluation, self.settings = evaluation, evaluation.settings
        self.data = evaluation.make_data()
        self.methods = {method.name: method for method in evaluation.make_methods()}
        device, sparse = pick_device(evaluation.device), evaluation.sparse
        self.engine = Engine(device=device, sparse=sparse, keep_memory=keep_memory)
        self.work = evaluation.out / "work"
        self._secret = secret_of(evaluation.out)
        self._instances: dict[tuple[str, int, int], Instance] = {}
        self._identities: dict[int, Identity] = {}  # of the dense networks

    def task(self, model: int, folder: Path) -> EvaluationTask:
        """What the networks of a model are trained for, and how."""

        def seeded(recipe: Recipe) -> Recipe:
            return replace(recipe, seed=recipe.seed + model)

        made, recipe = self.evaluation.make_model, seeded(self.settings.recipe)
        return EvaluationTask(
            data=self.data,
            recipe=recipe,
            further=seeded(self.settings.further),
            engine=self.engine,
            folder=folder,
            model=made(recipe.seed) if made else None,
        )

    def payloads(self, method: Method, applied: Applied | None = None) -> range:
        """The payloads of each model that are tried under a modification (None: under none)."""
        if not method.keyed:
            return range(1)
        trained = applied is not None and applied.modification.trained
        return range(self.settings.trained_payloads if trained else self.settings.payloads)

    def subject(self, model: int, kind: str) -> Ticket:
        """What a mark is put into: the trained dense network, or a ticket pruned of it in one shot."""
        dense = self._kept("dense", self._dense(model), model, self._trained)
        return dense if kind == "dense" else prune_ticket(dense, self.settings.pruned)

    def unmarked(self, model: int, kind: str) -> Ticket:
        """The subject trained further without a mark: as long as one with a mark is."""

        def further(task: EvaluationTask) -> Ticket:
            return task.trained_further(self.subject(model, kind))

        return self._kept("unmarked", self._unmarked(model, kind), model, further)

    def before(self, method: Method, model: int) -> Ticket:
        """The network that an instance is made for: the subject; of a passive method the unmarked one."""
        return (self.unmarked if method.passive else self.subject)(model, method.subject)

    def instance(self, method: Method, model: int, payload: int) -> Instance:
        """A key and a payload of a method for a network; that of a passive one is taken of the network."""
        place = method.name, model, payload
        if place not in self._instances:
            network = self.before(method, model)
            task = self.task(model, self.work / "instance")
            self._instances[place] = self.fresh_instance(method, model, payload, network, task)
        return self._instances[place]

    def fresh_instance(
        self, method: Method, model: int, payload: int, network: Ticket, task: EvaluationTask
    ) -> Instance:
        """The same, made anew."""
        secret = instance_secret(self._secret, method.name, (model, payload))
        return method.instance(network, secret, task)

    def marked(self, method: Method, model: int, payload: int) -> Ticket:
        """The network with the mark in it; of a passive method the unmarked one."""
        if method.passive:
            return self.unmarked(model, method.subject)

        def marked(task: EvaluationTask) -> Ticket:
            return self.instance(method, model, payload).inject(self.subject(model, method.subject), task)

        identity = self._of(method, model, payload)
        return self._kept(f"marked-{method.name}", identity, model, marked)

    def innocent(self, method: Method, model: int) -> int:
        """The model whose unmarked network the instances of a model are tried on in vain.

        A passive method knows its own network: there it is the next one. With M = 1 one more is trained.
        """
        models = self.settings.models
        return (model + 1) % max(2, models) if method.passive else model

    def modified(self, method: Method, model: int, payload: int | None, applied: Applied | None) -> Ticket:
        """A network after a modification.

        Args:
            payload: of the marked network; None: the unmarked one that goes with a model.
            applied: None: as it is.

        Raises:
            InputError: the modification cannot be done to this network.
        """
        own = self.innocent(method, model) if payload is None else model

        def as_it_is() -> Ticket:
            if payload is None:
                return self.unmarked(own, method.subject)
            return self.marked(method, own, payload)

        if applied is None:
            return as_it_is()
        identity = self._modified(method, own, payload, applied)
        further = instance_secret(self._secret, method.name, (own, payload, "further marks"))
        # W marks are written over the network that W - 1 have been written over.
        there = max(0, int(applied.intensity) - 1) if applied.name == OVERWRITING else 0

        def before() -> Ticket:
            return self.modified(method, model, payload, Applied(OVERWRITING, there)) if there else as_it_is()

        def change(task: EvaluationTask) -> Ticket:
            """Applies the modification; a thief's choices are drawn from what identifies the network."""
            scene = Scene(
                data=task.data,
                recipe=task.recipe,
                model=task.model,
                engine=task.engine,
                run=task.folder,
                seed=int(short_digest(identity, 8), 16),
            )
            marks = FurtherMarks(method=method, task=task, secret=further, there=there)
            return applied.modification.apply(before(), applied.intensity, scene, marks)

        if not applied.modification.trained:
            return change(self.task(own, self.work / "modified"))
        return self._kept(applied.name, identity, own, change)

    def secret_digest(self) -> str:
        """SHA-256 of the secret: with another secret all keys and payloads are others."""
        return bytes_digest(self._secret)

    def _trained(self, task: EvaluationTask) -> Ticket:
        recipe = replace(task.recipe, rounds=0, density=None)
        return find(recipe, task.data, task.folder, model=task.model, engine=task.engine)

    def _kept(
        self, name: str, identity: Identity, model: int, make: Callable[[EvaluationTask], Ticket]
    ) -> Ticket:
        """A network from its bundle; made by one process, while others wait, where there is none."""
        path = self.work / f"{name}-{short_digest(identity, 16)}"
        make_folder(self.work)
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not is_bundle(path):
                run = path.with_name(f"{path.name}.run")
                save(make(self.task(model, run)), path)
                shutil.rmtree(run, ignore_errors=True)
        return load(path).ticket

    def _dense(self, model: int) -> Identity:
        if model not in self._identities:
            task = self.task(model, self.work)
            own = None if task.model is None else tensor_digest(plain_weights(task.model, Mask({})))
            self._identities[model] = {"recipe": task.recipe.to_json(), "data": self.data.digest, "own": own}
        return self._identities[model]

    def _unmarked(self, model: int, kind: str) -> Identity:
        pruned = self.settings.pruned if kind != "dense" else None
        return {"dense": self._dense(model), "pruned": pruned, "further": self.settings.further.to_json()}

    def identity(self, method: Method, model: int, payload: int | None) -> Identity:
        """All that decides an unmarked network (payload None), or a marked one."""
        if payload is None or method.passive:
            return self._unmarked(model, method.subject)
        return self._of(method, model, payload)

    def _of(self, method: Method, model: int, payload: int) -> Identity:
        about = {"method": method.name, "options": dict(method.options), "secret": self.secret_digest()}
        return {**self._unmarked(model, method.subject), **about, "payload": [model, payload]}

    def _modified(self, method: Method, own: int, payload: int | None, applied: Applied) -> Identity:
        identity = {"network": self.identity(method, own, payload), "done": [applied.name, applied.intensity]}
        if applied.name == OVERWRITING:  # by marks of this method: shared with no other one
            identity["by"] = self._of(method, own, -1 if payload is None else payload)
        return identity
