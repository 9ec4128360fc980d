"""Workflow metadata of an evaluation: NTI, WTI, NIR and WIR of MPAI-NNW, in the form of MPAI-AIF (IEEE 3301).

A port's name is the name of the data that pass it, in every module alike, and the topology follows from the
names. So no edge can lead to a port that is not there. Source: NNW-NNT V1.1, AI workflows and AI modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ticket_sig.evaluation.report import check_schema
from ticket_sig.files import whole_folder, write_json

_Json = Mapping[str, Any]

STANDARD, STANDARD_VERSION = "MPAI-NNW", "V1.1"
PAGES = "https://mpai.community/standards/mpai-nnw/nnt/v1-1/"
NOBODY = "none: assigned by the registration authority of MPAI"

TYPES = {
    "Dataset_t": "uint8[]",
    "Parameters_t": "uint8[]",
    "Inference_t": "uint8[]",
    "Payload_t": "uint32[]",  # symbols: bits, numbers or labels
    "Count_t": "uint64",  # 8 bits, as in the reference software, would wrap at 256 errors
}
DATA = {
    "TrainingDataset": "Dataset_t",
    "TestingDataset": "Dataset_t",
    "Payload": "Payload_t",
    "OriginalPayload": "Payload_t",
    "RetrievedPayload": "Payload_t",
    "UnwatermarkedParameters": "Parameters_t",
    "WatermarkedParameters": "Parameters_t",
    "ModifiedParameters": "Parameters_t",
    "UnwatermarkedInference": "Inference_t",
    "WatermarkedInference": "Inference_t",
    "ModifiedInference": "Inference_t",
    "CountError": "Count_t",
}


class Module(NamedTuple):
    """An AI module, or a whole workflow: what it does, and what goes in and comes out."""

    does: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


MODULES = {
    "AIMTrainer": Module("Trains the network.", ("TrainingDataset",), ("UnwatermarkedParameters",)),
    "NTIWatermarkEmbedder": Module(
        "Puts the payload into trained parameters.",
        ("UnwatermarkedParameters", "Payload"),
        ("WatermarkedParameters",),
    ),
    "WTIWatermarkEmbedder": Module(
        "Trains the network with the payload in it.",
        ("TrainingDataset", "Payload"),
        ("WatermarkedParameters",),
    ),
    "UnwatermarkedAIM": Module(
        "The network without a watermark.",
        ("UnwatermarkedParameters", "TestingDataset"),
        ("UnwatermarkedInference",),
    ),
    "WatermarkedAIM": Module(
        "The network with the watermark.",
        ("WatermarkedParameters", "TestingDataset"),
        ("WatermarkedInference",),
    ),
    "ModificationModule": Module(
        "Modifies the parameters.", ("WatermarkedParameters",), ("ModifiedParameters",)
    ),
    "ModifiedAIM": Module(
        "The modified network.", ("ModifiedParameters", "TestingDataset"), ("ModifiedInference",)
    ),
    "NIRWatermarkDecoder": Module(
        "Reads the payload from parameters.", ("ModifiedParameters",), ("RetrievedPayload",)
    ),
    "WIRWatermarkDecoder": Module(
        "Reads the payload from answers.", ("ModifiedInference",), ("RetrievedPayload",)
    ),
    "Comparator": Module(
        "Counts the symbols that differ.", ("OriginalPayload", "RetrievedPayload"), ("CountError",)
    ),
}

_IMPERCEPTIBLE = (
    ("TrainingDataset", "TestingDataset", "Payload"),
    ("UnwatermarkedInference", "WatermarkedInference"),
)
_ROBUST = ("CountError", "RetrievedPayload")
WORKFLOWS: dict[str, tuple[str, Module, tuple[str, ...]]] = {
    "NNW-NTI": (
        "No Training Imperceptibility",
        Module("Answers with and without a watermark that is put in without training.", *_IMPERCEPTIBLE),
        ("AIMTrainer", "NTIWatermarkEmbedder", "UnwatermarkedAIM", "WatermarkedAIM"),
    ),
    "NNW-WTI": (
        "With Training Imperceptibility",
        Module("Answers with and without a watermark that is put in by training.", *_IMPERCEPTIBLE),
        ("AIMTrainer", "WTIWatermarkEmbedder", "UnwatermarkedAIM", "WatermarkedAIM"),
    ),
    "NNW-NIR": (
        "No-Inference Robustness",
        Module(
            "Errors of a payload read from modified parameters.",
            ("OriginalPayload", "WatermarkedParameters"),
            _ROBUST,
        ),
        ("ModificationModule", "NIRWatermarkDecoder", "Comparator"),
    ),
    "NNW-WIR": (
        "With Inference Robustness",
        Module(
            "Errors of a payload read from the answers of a modified network.",
            ("OriginalPayload", "TestingDataset", "WatermarkedParameters"),
            _ROBUST,
        ),
        ("ModificationModule", "ModifiedAIM", "WIRWatermarkDecoder", "Comparator"),
    ),
}


def write_workflows(folder: Path, report: _Json) -> None:
    """Writes the metadata of the four workflows and of their modules, a file each; replaces a folder."""
    with whole_folder(folder, replace=True) as partial:
        for name, metadata in workflows(report):
            check_schema(metadata, folder / f"{name}.json", "workflow")
            write_json(partial / f"{name}.json", metadata)


def workflows(report: _Json) -> Iterator[tuple[str, dict[str, Any]]]:
    """Metadata by name: `NNW-NIR` is a workflow, `NNW-NIR-Comparator` a module of it."""
    run = _run_by(report)
    for acronym, (title, whole, parts) in WORKFLOWS.items():
        methods = ", ".join(run[acronym]) or "none"
        page = f"{PAGES}ai-workflows/{title.lower().replace(' ', '-')}"
        told = f"{whole.does} Methods of this evaluation that take it: {methods}."
        yield (
            acronym,
            {
                **_head(acronym, acronym, title, whole._replace(does=told)),
                "SubAIMs": [{"Name": part, "Identifier": _identifier(acronym, part)} for part in parts],
                "Topology": list(_topology(whole, {part: MODULES[part] for part in parts})),
                **_tail(report, page),
            },
        )
        for part in parts:
            yield (
                f"{acronym}-{part}",
                {
                    **_head(acronym, part, part, MODULES[part]),
                    "SubAIMs": [],
                    "Topology": [],
                    **_tail(report, f"{PAGES}ai-modules"),
                },
            )


def _run_by(report: _Json) -> dict[str, list[str]]:
    """Which methods take which workflow; passive ones put nothing in and have no payload, and take none."""
    found: dict[str, list[str]] = {acronym: [] for acronym in WORKFLOWS}
    for name, method in report["methods"].items():
        if method["about"]["family"] == "active":
            epochs = ((method["cost"] or {}).get("injection") or {}).get("epochs")
            untrained = epochs is not None and epochs["mean"] == 0
            found["NNW-NTI" if untrained else "NNW-WTI"].append(name)
            found["NNW-WIR" if method["about"]["stands_in"] == "answers" else "NNW-NIR"].append(name)
    return found


def _topology(whole: Module, parts: Mapping[str, Module]) -> Iterator[dict[str, Any]]:
    """Edges from what makes a piece of data to each that takes it; an empty name is the workflow itself."""
    makers = dict.fromkeys(whole.inputs, "")
    makers |= {name: part for part, module in parts.items() for name in module.outputs}
    takers = [(part, name) for part, module in parts.items() for name in module.inputs]
    for taker, name in [*takers, *(("", name) for name in whole.outputs)]:
        yield {
            "Output": {"AIMName": makers[name], "PortName": name},
            "Input": {"AIMName": taker, "PortName": name},
        }


def _identifier(workflow: str, module: str) -> dict[str, Any]:
    named = {"Standard": STANDARD, "AIW": workflow, "AIM": module, "Version": STANDARD_VERSION}
    return {"ImplementerID": NOBODY, "Specification": named}


def _head(workflow: str, module: str, title: str, what: Module) -> dict[str, Any]:
    ways = [(name, "Input") for name in what.inputs] + [(name, "Output") for name in what.outputs]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ticket_sig:{workflow}:{module}:{STANDARD_VERSION}",
        "title": f"{title} ({STANDARD} {STANDARD_VERSION})",
        "Identifier": _identifier(workflow, module),
        "APIProfile": "Basic",
        "Description": what.does,
        "Types": [{"Name": name, "Type": TYPES[name]} for name in sorted({DATA[data] for data, _ in ways})],
        "Ports": [
            {
                "Name": name,
                "Direction": way,
                "RecordType": DATA[name],
                "Technology": "Software",
                "Protocol": "",
                "IsRemote": False,
            }
            for name, way in ways
        ],
    }


def _tail(report: _Json, page: str) -> dict[str, Any]:
    return {
        "Implementations": [
            {
                "BinaryName": "ticket-sig evaluate",
                "Architecture": report["made_with"].get("device", "any"),
                "OperatingSystem": "any",
                "Version": report["written_by"],
                "Source": "AIMStorage",
            }
        ],
        "ResourcePolicies": [],
        "Documentation": [{"Type": "Specification", "URI": page}],
    }
