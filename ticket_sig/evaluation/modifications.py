"""The seven modifications of a robustness evaluation, each with its parameter and the range of the standard.

Source: MPAI-NNW Traceability V1.1 (IEEE 3304), the list of modifications. Each is made of attacks of the
package, overwriting of the method itself; here stand the standard's names and numbers. A copy is modified:
the network that is handed in stays bit for bit as it is, and so does a user's own model in the scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ticket_sig.attacks import Attack, Scene
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.gaussian_noise import GaussianNoise
from ticket_sig.attacks.knowledge_distillation import KnowledgeDistillation
from ticket_sig.attacks.magnitude_pruning import MagnitudePruning
from ticket_sig.attacks.quantization import Quantization
from ticket_sig.attacks.random_pruning import RandomPruning
from ticket_sig.attacks.scene import stolen
from ticket_sig.errors import InputError, bad_input
from ticket_sig.evaluation.method import EvaluationTask, Method
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import iterations_of
from ticket_sig.training.steps import Steps


@dataclass(frozen=True, kw_only=True)
class FurtherMarks:
    """What overwriting takes: how marks beside the owner's are made and put in.

    Attributes:
        method: the owner's; his instance of it is not shown, and so cannot change.
        task: how the method trains.
        secret: from it follow the secrets of all further marks.
        there: how many of them are in the network already.
    """

    method: Method
    task: EvaluationTask
    secret: bytes
    there: int = 0


Change = Callable[[Ticket, float, Scene, FurtherMarks | None], Ticket]


@dataclass(frozen=True, kw_only=True)
class Modification:
    """One modification of the standard.

    Attributes:
        name: in reports and on the command line.
        parameter: the standard's letter for its intensity.
        unit: of the intensity.
        low, high: range of the standard.
        intensities: weak, middle, strong.
        trained: whether it trains.
        whole: whether the intensity is a whole number.
        below: an intensity is above 0 and below this, in the range or not.
        images: how many images it takes, by the standard.
    """

    name: str
    parameter: str
    unit: str
    low: float
    high: float
    intensities: tuple[float, float, float]
    trained: bool = False
    whole: bool = False
    below: float = math.inf
    images: tuple[float, float] = (0, math.inf)
    change: Change = field(repr=False)

    def in_range(self, intensity: float, images: int | None = None) -> bool:
        """Whether an intensity is one of the standard's, on so many images where they matter."""
        enough = images is None or self.images[0] <= images <= self.images[1]
        return self.low <= intensity <= self.high and enough

    def check(self, intensity: float) -> None:
        """Checks that there is such an intensity, in the standard's range or not; else InputError."""
        if 0 < intensity < self.below and (not self.whole or intensity == int(intensity)):
            return
        kind = "a whole number" if self.whole else "a finite number"
        below = f", below {self.below:g}" if self.below < math.inf else ""
        raise bad_input(self.name, self.parameter, f"{kind} above 0{below}", str(intensity))

    def apply(
        self, network: Ticket, intensity: float, scene: Scene, further: FurtherMarks | None = None
    ) -> Ticket:
        """The network after the modification; the one that is handed in stays as it is.

        Args:
            scene: random numbers, and where it trains data, recipe and engine; `run` keeps the state of the
                training of fine-tuning and distillation.
            further: for overwriting.

        Raises:
            InputError: no such intensity; or the modification cannot be done to this network.
        """
        self.check(intensity)
        return self.change(network, intensity, scene, further)


def _by(made: Callable[[float], Attack]) -> Change:
    return lambda network, intensity, scene, further: made(intensity)(network, scene)


def _tuned(network: Ticket, share: float, scene: Scene, further: FurtherMarks | None) -> Ticket:
    """Fine-tuning under the network's mask, for a share of the initial epochs, at least one step."""
    recipe = scene.recipe_for(network)
    data = scene.dataset()

    def shortened(length: Steps, least: int = 0) -> Steps:
        return Steps(max(least, round(share * iterations_of(length, recipe, data))), "it")

    milestones = tuple(shortened(one) for one in recipe.milestones)
    short = replace(recipe, length=shortened(recipe.length, 1), milestones=milestones)
    return FineTuning()(network, replace(scene, recipe=short))


def _overwritten(network: Ticket, count: float, scene: Scene, further: FurtherMarks | None) -> Ticket:
    """So many fresh instances of the method, put in one after another."""
    if further is None:
        raise bad_input("overwriting", "further marks", "a method to make them by", "none")
    method, task = further.method, further.task
    if method.passive:
        expected = "a method that puts marks into networks"
        raise bad_input("overwriting", "method", expected, f"{method.name}, which is passive")
    marked = stolen(network)
    for number in range(further.there + 1, int(count) + 1):
        secret = keyed_words(further.secret, f"overwriting {number}", 4).tobytes()
        own = replace(task, folder=task.folder / f"overwriting-{number}")
        try:
            marked = method.instance(marked, secret, own).inject(marked, own)
        except InputError as error:
            raise InputError(f"overwriting: mark {number} of {int(count)}: {error}") from None
    return marked


_ALL = (
    Modification(
        name="gaussian-noise",
        parameter="S",
        unit="standard deviations of a layer's weights",
        low=0.1,
        high=0.3,
        intensities=(0.1, 0.2, 0.3),
        change=_by(lambda ratio: GaussianNoise(scale=ratio)),
    ),
    # Shares of the weights that are kept: of a dense network of all.
    Modification(
        name="l1-pruning",
        parameter="P",
        unit="% of each layer",
        low=1,
        high=90,
        intensities=(10, 50, 90),
        below=100,
        change=_by(lambda percent: MagnitudePruning(rate=percent / 100, scope="layerwise")),
    ),
    Modification(
        name="random-pruning",
        parameter="R",
        unit="% of all weights",
        low=1,
        high=10,
        intensities=(1, 5, 10),
        below=100,
        change=_by(lambda percent: RandomPruning(rate=percent / 100)),
    ),
    Modification(
        name="quantization",
        parameter="B",
        unit="bits",
        low=2,
        high=32,
        intensities=(16, 8, 4),
        whole=True,
        change=_by(lambda bits: Quantization(bits=int(bits))),
    ),
    Modification(
        name="fine-tuning",
        parameter="E",
        unit="of the initial epochs",
        low=0,
        high=0.5,
        intensities=(0.1, 0.25, 0.5),
        trained=True,
        change=_tuned,
    ),
    Modification(
        name="distillation",
        parameter="E",
        unit="epochs",
        low=1,
        high=100,
        intensities=(2, 4, 8),
        trained=True,
        whole=True,
        images=(1e4, 1e6),
        change=_by(lambda epochs: KnowledgeDistillation(epochs=int(epochs))),
    ),
    Modification(
        name="overwriting",
        parameter="W",
        unit="further marks",
        low=2,
        high=4,
        intensities=(2, 3, 4),
        trained=True,
        whole=True,
        change=_overwritten,
    ),
)

MODIFICATIONS: dict[str, Modification] = {one.name: one for one in _ALL}
