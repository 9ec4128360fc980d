"""What a model on a server takes: as its metadata say, or as the user says where these do not serve."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ticket_sig.errors import InputError, bad_input
from ticket_sig.verification.ask.http import NoAnswer, Refused

FLOATS = ("BF16", "FP16", "FP32", "FP64")
TAKEN = ("UINT8", *FLOATS)
_MOST_NUMBERS = 1 << 23  # in a request, at some 64 bytes each: of a batch that is fixed all images are sent
_MOST_SIZES = 8


@dataclass(frozen=True)
class ModelInput:
    """The input that takes the images.

    Attributes:
        name, datatype: as the protocol has them.
        channels_first: [n, channels, height, width]; else channels come last.
        batch: images per request where that is fixed.
        bare: one image is sent as [height, width, channels], without a batch dimension.
        hint: what to try where the server refuses.
    """

    name: str
    datatype: str
    channels_first: bool
    batch: int | None = None
    bare: bool = False
    hint: str = ""


def check_shape(name: str, text: str) -> None:
    """Checks an option of sizes: three or four, -1 for one that is left open."""
    if not re.fullmatch(r"(-1|[1-9][0-9]{0,8})(,(-1|[1-9][0-9]{0,8})){2,3}", text):
        raise bad_input("", name, "sizes as -1,3,32,32 or 3,32,32", repr(text)[:80])


def input_of(
    said: Mapping[str, str | None],
    metadata: Callable[[], Mapping[str, Any]],
    where: str,
    size: tuple[int, ...],
) -> ModelInput:
    """The input of a model that takes images of a size.

    Args:
        said: what the user says of it: `name`, `datatype` and `shape`, each a text or None.
        metadata: asks for the model's; not called where the user says all.
        size: height, width and channels.

    Raises:
        NoAnswer: the server is dead, too slow, overloaded or broken.
        InputError: the metadata are missing, or of no input that takes such images, or of several.
    """
    told: Mapping[str, Any] = {}
    try:
        if None in said.values():
            told = _declared(metadata(), where, said["name"])
        return _checked({**told, **{k: v for k, v in said.items() if v is not None}}, said, where, size)
    except NoAnswer:
        raise
    except InputError as error:
        shape = ",".join(map(str, (-1, *size)))
        there = "if the model is there, " if isinstance(error, Refused) else ""
        hint = f"{there}say what it takes: --input NAME --datatype UINT8 --shape {shape}"
        raise InputError(f"{error}; {hint}") from None


def _declared(metadata: Mapping[str, Any], where: str, name: str | None) -> Mapping[str, Any]:
    """The one input of a model's metadata, or the one of a name."""
    inputs = metadata.get("inputs")
    declared = [one for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
    if name is not None and (named := [one for one in declared if one.get("name") == name]):
        return named[0]
    if name is not None and not declared:
        return {}
    if name is not None or len(declared) != 1:
        names = ", ".join(str(one.get("name")) for one in declared)
        expected = "one input" if name is None else f"one named {name!r}"
        found = f"{len(declared)} ({names})" if declared else "none"
        raise bad_input(where, "metadata, inputs", expected, found)
    return declared[0]


def _checked(
    told: Mapping[str, Any], said: Mapping[str, str | None], where: str, size: tuple[int, ...]
) -> ModelInput:
    def wrong(field: str, expected: str, found: object) -> InputError:
        by_user = said[field] is not None
        place, field = ("", f"--{field}") if by_user else (where, f"metadata, {field}")
        return bad_input(place, field, expected, str(found)[:80])

    name, datatype, shape = told.get("name"), told.get("datatype"), sizes(told.get("shape"))
    if not isinstance(name, str):
        raise wrong("name", "a text", repr(name))
    if datatype not in TAKEN:
        raise wrong("datatype", ", ".join(TAKEN), repr(datatype))
    if shape is None or len(shape) not in (3, 4):
        raise wrong("shape", "sizes of a batch of images", repr(told.get("shape")))
    single, hint = len(shape) == 3, ""
    batch, *image = [1, *shape] if single else shape
    if batch > (most := max(1, _MOST_NUMBERS // math.prod(size))):
        raise wrong("shape", f"at most {most} such images a request", batch)
    height, width, channels = size
    fits = {
        first: _fit(image, layout)
        for first, layout in ((True, (channels, height, width)), (False, (height, width, channels)))
    }
    # Both fit where sizes are left open; channels first is what most networks take.
    best = max(fits, key=lambda first: (fits[first], first))
    if fits[best] < 0:
        raise wrong("shape", f"images of {height} x {width} with {channels} channels", shape)
    # By the protocol such metadata mean an image without a batch dimension, but many who write them leave it
    # out. A batch of one suits all servers that take batches; who must send the image alone can say so.
    if single and said["shape"] is None:
        one = ",".join(map(str, (channels, height, width) if best else size))
        hint = f"the metadata have no batch dimension: try --shape {one} or --shape -1,{one}"
    return ModelInput(name, datatype, best, batch if batch > 0 else None, single and not hint, hint)


def _fit(shape: list[int], layout: tuple[int, ...]) -> int:
    """How many sizes are given and right; -1 where one is wrong."""
    if any(n not in (-1, side) for n, side in zip(shape, layout, strict=True)):
        return -1
    return sum(n != -1 for n in shape)


def sizes(shape: object) -> list[int] | None:
    """A shape as numbers, -1 for each size that is left open; None where it is no shape.

    Sizes come as numbers or as texts; those that are open also as null or as a name ("batch").
    """
    parts = shape.strip("[]() ").split(",") if isinstance(shape, str) else shape
    if not isinstance(parts, list) or len(parts) > _MOST_SIZES:
        return None
    found = []
    for part in parts:
        if part is not None and type(part) not in (int, str):
            return None
        text = str(part).strip()
        if not re.fullmatch("-?[0-9]+", text):
            found.append(-1)
        elif len(text) < 10:
            found.append(int(text))
        else:
            return None
    return found
