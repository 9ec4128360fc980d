"""What can be run, by the name it has on the command line."""

from __future__ import annotations

import ast
import importlib
from typing import Any

from experiments import FOLDER

# By source, in the order of RESULTS.md; the last is our own. Each names its cells, and says what they show
# (`lib/showing.py`).
SOURCES = {
    "NeurIPS'21: Chen et al., lottery ticket verification": {
        "table1": "neurips21.table1",
        "table2": "neurips21.table2",
        "table3": "neurips21.table3",
        "table4": "neurips21.table4",
        "table5": "neurips21.table5",
        "table6": "neurips21.table6",
        "table7": "neurips21.table7",
        "table8": "neurips21.table8",
        "figure2": "neurips21.figure2",
        "figure3": "neurips21.figure3",
        "figure4": "neurips21.figure4",
        "figure5": "neurips21.figure5",
        "figure6": "neurips21.figure6",
    },
    "FreezeNet: Bouvard, 2020": {
        "freezenet_learning": "freezenet.learning_ability",
        "freezenet_ablation": "freezenet.ablation",
        "freezenet_transfer": "freezenet.pretrained",
        "freezenet_weak": "freezenet.weak_tampering",
        "freezenet_strong": "freezenet.strong_tampering",
        "freezenet_hit": "freezenet.signature_hit",
        "proof_of_work": "freezenet.time_to_solution",
    },
    "Proof-of-Learning: Jia et al., S&P 2021, and attacks on it": {
        "pol_table": "pol.reproduction",
        "pol_spoofs": "pol.spoof_table",
    },
    "MPAI-NNW: IEEE 3304": {
        "mpai_digits": "mpai.on_digits",
        "mpai_cifar10": "mpai.on_cifar10",
    },
    "Uchida et al., ICMR 2017": {
        "uchida": "uchida.bits_by_fine_tuning",
    },
    "Our own": {
        "attack_table": "neurips21.attack_table",
        "free_table": "recovery.free_table",
        "black_box": "neurips21.running_server",
        "watermark_attacks": "uchida.watermark_attacks",
        "pol_tamper": "pol.tamper_table",
        "pol_detection": "pol.detection",
        "carriers_matrix": "carriers.attack_matrix",
        "carriers_utility": "carriers.utility_plot",
        "carriers_informed": "carriers.informed_thief",
        "carriers_margin": "carriers.margin_table",
        "attacks_in_a_row": "carriers.attacks_in_a_row",
        "carriers_innocents": "carriers.innocents",
        "recovery_table": "recovery.recovery_table",
        "descent": "recovery.descent_table",
        "recovery_innocents": "recovery.innocents_aligned",
        "liar": "recovery.liar",
        "sparse_layers": "engineering.sparse_layers",
    },
}
# What is to be said of all results of a source, once.
NOTES = {
    "FreezeNet: Bouvard, 2020": (
        "Scale quick: trained for 4 epochs, and from trained weights for 2, where the paper takes 100. "
        "Accuracies are those of a short schedule, to be compared with each other and not with the paper's."
    ),
}
RESULTS = {name: module for results in SOURCES.values() for name, module in results.items()}
BY_NAME_ALONE = ("black_box",)  # it needs the extra `serving`

# Each has options of its own: `options(parser)` and `main(options)`.
PROGRAMS = {
    "main_path": "engineering.main_path",
    "fidelity": "engineering.bf16_or_float32",
    "ship_ticket": "shipping.ship_ticket",
    "ship_carriers": "shipping.ship_carriers",
    "ship_null": "shipping.ship_null",
    "evaluate_checkpoints": "shipping.evaluate_checkpoints",
}


def module_of(name: str) -> Any:
    """The module of a result or program."""
    return importlib.import_module(f"experiments.{(RESULTS | PROGRAMS)[name]}")


def in_a_line(name: str) -> str:
    """What a result or program is: the first line of its module, read without importing it."""
    path = FOLDER / f"{(RESULTS | PROGRAMS)[name].replace('.', '/')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]
