"""The codes read off an attacked network, as pictures: what Figures 3, 4 and 6 share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result
from experiments.neurips21.attacked import reading
from ticket_sig.cells import Cell, Measured
from ticket_sig.marks.qr_code.qr import Bits
from ticket_sig.pictures import codes

NOT = "cannot be read"


def code_result(
    bench: Bench,
    title: str,
    groups: Sequence[tuple[str, Subject, Sequence[Cell]]],
    published: Mapping[tuple[str, str], str],
    notes: Sequence[str],
    why: str = "",
) -> Result:
    """A picture of the first seed's code of every group, and a table of all.

    Args:
        groups: what each is called, its subject and its cells, one a seed.
        published: what the paper reads, by network and group.
    """
    rows, panels, beside = [], [], Beside(dict.fromkeys(network for network, _ in published), why)
    for name, subject, cells in groups:
        values = bench.store.found(cells)
        agree = ", ".join(f"{v['matches']} / {v['modules']}" for v in values)
        paper = published.get((str(subject), name), "")
        if paper:
            beside.said(str(subject), "codes read", [v["message"] or NOT for v in values], paper)
        rows.append((str(subject), name, reading(values), agree, paper))
        if values and values[0]["module_map"]:
            panels.append(panel(bench, subject, name, values[0]))
    columns = "network | attack | the code | data modules | paper reads"
    draw = partial(_draw, panels, title) if panels else None
    return Result(columns, rows, notes, draw=draw, beside=beside)


def panel(bench: Bench, subject: Subject, name: str, value: Measured) -> tuple[Bits, Bits, str]:
    """Light modules, wrong ones, and a title."""
    light = np.array([[module == "1" for module in row] for row in value["module_map"]])
    code = bench.known(subject).code
    read = f"reads {value['message']}" if value["message"] is not None else "cannot be read"
    return light, code.data & (light != code.light), f"{name}: {read}\n{value['verdict']}"


def _draw(panels: Sequence[tuple[Bits, Bits, str]], title: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    codes(path, panels, title)
