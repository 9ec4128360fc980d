"""Options that say which watermark is meant, and the watermark that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ticket_sig.formats.weights import Weights
    from ticket_sig.watermarks import Watermark

Model = Annotated[
    Path,
    typer.Argument(
        help="A bundle, a .safetensors file, a folder of them with its index, or a torch checkpoint.",
        show_default=False,
    ),
]
Text = Annotated[str | None, typer.Option(help="The data: the bytes of this text.", show_default=False)]
DataFile = Annotated[Path | None, typer.Option(help="The data: the bytes of this file.", show_default=False)]
Length = Annotated[int | None, typer.Option(help="How many weights are fixed.", show_default=False)]
Share = Annotated[float | None, typer.Option(help="Their share of all weights, 0 to 1.", show_default=False)]
Scale = Annotated[
    str | None,
    typer.Option(
        help="Of the values: unit, on (-1, 1); layer, as each layer's initial weights; or legacy, "
        "the stream of the original code; unit by default.",
        show_default=False,
    ),
]
Arch = Annotated[
    str | None, typer.Option(help="Only this network's trainable parameters.", show_default=False)
]


def data_of(text: str | None, file: Path | None) -> bytes:
    """The bytes that --text or --data-file give.

    Raises:
        InputError: both are given, or neither.
    """
    from ticket_sig.errors import bad_input

    if (text is None) == (file is None):
        raise bad_input("", "--text, --data-file", "one of them", "neither" if text is None else "both")
    # What the shell passed that is no UTF-8 stays the bytes it was.
    return text.encode("utf-8", "surrogateescape") if text is not None else Path(str(file)).read_bytes()


def watermark_of(
    model: Path,
    data: bytes,
    length: int | None,
    share: float | None,
    scale: str | None,
    arch: str | None,
) -> tuple[Watermark, Weights]:
    """The watermark of this length, or of this share of all weights; and the model's weights.

    Raises:
        InputError: both are given, or neither; an option is out of range; or the model is damaged, too small,
            or none of `arch`.
    """
    from ticket_sig.errors import about, bad_input
    from ticket_sig.formats import open_weights
    from ticket_sig.models import MODELS
    from ticket_sig.watermarks import Watermark
    from ticket_sig.watermarks.derive import size_of
    from ticket_sig.watermarks.files import manifest_of

    if (length is None) == (share is None):
        raise bad_input("", "--length, --share", "one of them", "neither" if length is None else "both")
    if share is not None and not 0 <= share <= 1:
        raise bad_input("", "--share", "0 to 1", f"{share:g}")
    if arch is not None and arch not in MODELS:
        raise bad_input("", "--arch", f"one of {', '.join(MODELS)}", repr(arch))
    # Whatever is wrong without a manifest is no fault of the model.
    asked = Watermark(data, length or 0, scale=scale or "unit")
    weights = open_weights(model)
    with about(model):
        manifest = manifest_of(weights, arch)
        count = asked.length if share is None else round(share * size_of(manifest))
        return Watermark(data, count, scale=asked.scale, manifest=manifest), weights
