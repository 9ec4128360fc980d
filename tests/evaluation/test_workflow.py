"""Workflow metadata: valid by the published fields, and every edge goes from port to port of one name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from support.evaluated import report

from ticket_sig.errors import InputError
from ticket_sig.evaluation.report import check_schema
from ticket_sig.evaluation.workflow import WORKFLOWS, workflows, write_workflows
from ticket_sig.files import read_json

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("out") / "workflow"
    for _ in range(2):  # the second time in place of the first
        write_workflows(folder, report())
    return {path.stem: read_json(path) for path in folder.iterdir()}


def ports(metadata: dict[str, Any], way: str) -> dict[str, str]:
    """Ports of a direction, with the types of their data."""
    return {one["Name"]: one["RecordType"] for one in metadata["Ports"] if one["Direction"] == way}


def test_all_are_valid_and_their_own(found: Found) -> None:
    for name, metadata in found.items():
        check_schema(metadata, name, "workflow")
    assert len({metadata["$id"] for metadata in found.values()}) == len(found)
    assert all(metadata["$schema"] for metadata in found.values())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_port_of_an_edge_exists_and_every_port_has_an_edge(name: str, found: Found) -> None:
    whole = found[name]
    parts = {one["Name"]: found[f"{name}-{one['Name']}"] for one in whole["SubAIMs"]}
    # Within the workflow its own inputs give data, and its outputs take them.
    gives = {("", port): kind for port, kind in ports(whole, "Input").items()}
    takes = {("", port): kind for port, kind in ports(whole, "Output").items()}
    for part, metadata in parts.items():
        gives |= {(part, port): kind for port, kind in ports(metadata, "Output").items()}
        takes |= {(part, port): kind for port, kind in ports(metadata, "Input").items()}
    edges = [
        (
            (edge["Output"]["AIMName"], edge["Output"]["PortName"]),
            (edge["Input"]["AIMName"], edge["Input"]["PortName"]),
        )
        for edge in whole["Topology"]
    ]
    assert {end for _, end in edges} == set(takes) and len(edges) == len(takes)
    assert {start for start, _ in edges} == set(gives)
    assert all(gives[start] == takes[end] for start, end in edges)


def test_a_workflow_names_the_methods_that_take_it() -> None:
    told = report()
    told["methods"]["uchida"]["cost"]["injection"]["epochs"]["mean"] = 0
    said = {name: metadata["Description"] for name, metadata in workflows(told)}
    assert "uchida" in said["NNW-NTI"] and "uchida" not in said["NNW-WTI"]
    assert "trigger-set" in said["NNW-WIR"] and "trigger-set" not in said["NNW-NIR"]
    assert "mask-fingerprint" not in "".join(said.values())


def test_an_error_is_counted_with_more_than_8_bits(found: Found) -> None:
    counted = {one["Name"]: one["Type"] for one in found["NNW-NIR"]["Types"]}
    assert counted["Count_t"] == "uint64"


def test_metadata_without_a_schema_are_refused(found: Found) -> None:
    metadata = copy.deepcopy(found["NNW-NIR"])
    metadata["$schema"] = ""
    with pytest.raises(InputError, match="schema"):
        check_schema(metadata, Path("NNW-NIR.json"), "workflow")
