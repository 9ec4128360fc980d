"""An ordinary training loop of PyTorch, which knows nothing of this package."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Batch norm has buffers; dropout draws."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(6, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


def samples() -> TensorDataset:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=draw)
    return TensorDataset(x, (x.sum(1) > 0).long())


class Loop:
    """Everything a script would have at its top, and `step`.

    Args:
        lr, width: other ones make another training.
        device: where it computes.
    """

    def __init__(
        self,
        *,
        lr: float = 0.01,
        width: int = 8,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        scheduler: Callable[[Optimizer], Any] = lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
        scaled: bool = False,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.device = device
        self.train_plainly = False  # without random numbers of Python and numpy
        self.model = Net(width).to(device)
        self.optimizer = optimizer(self.model.parameters(), lr=lr)
        self.scheduler = scheduler(self.optimizer)
        self.scaler = torch.amp.GradScaler(device, enabled=scaled, init_scale=8.0, growth_interval=3)
        self.order = torch.Generator().manual_seed(7)
        self.x, self.y = (t.to(device) for t in samples().tensors)

    @property
    def parts(self) -> dict[str, Any]:
        drawn = {"order": self.order, "python": random, "numpy": np.random}
        return {"scheduler": self.scheduler, "scaler": self.scaler, **drawn}

    def step(self, number: int) -> Tensor:
        rows = torch.randint(len(self.x), (8,), generator=self.order)
        return self.train(self.x[rows.to(self.device)], self.y[rows.to(self.device)])

    def train(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.train_plainly:
            x = (x.flip(1) if random.random() < 0.5 else x) + float(np.random.rand())
        x = x + 0.1 * torch.randn_like(x)
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(loss.detach())
        else:
            self.scheduler.step()
        return loss


def loader(workers: int = 0) -> DataLoader[Any]:
    order = torch.Generator().manual_seed(7)
    return DataLoader(samples(), 16, shuffle=True, generator=order, num_workers=workers)
