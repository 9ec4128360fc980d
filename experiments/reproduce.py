"""Every table and figure of the papers at one scale, or those that are named.

    python experiments/reproduce.py --scale quick --data DIR --out RUN
    python experiments/reproduce.py table6 figure2 --scale smoke --out RUN

Cells are shared and measured once, the most telling first; started again it goes on, and a second process
with the same command helps.
"""

from __future__ import annotations

from command import reproduce
from results import run

ALL = (
    "figure2",
    "figure5",
    "table3",
    "table2",
    "table6",
    "figure3",
    "figure4",
    "table5",
    "table8",
    "figure6",
    "table7",
    "attack_table",
    "table4",
    "table1",
    "freezenet_learning",
    "freezenet_transfer",
    "freezenet_weak",
    "freezenet_strong",
    "freezenet_hit",
    "proof_of_work",
    "uchida",
    "watermark_attacks",
)

if __name__ == "__main__":
    run(lambda: reproduce(__doc__, ALL))
