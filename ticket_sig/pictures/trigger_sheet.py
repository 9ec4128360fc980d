"""A picture of a trigger set: every image with its label."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

from ticket_sig.files import SECRET, whole_file
from ticket_sig.marks.trigger_set.triggers import TriggerSet

_SIDE, _TEXT, _GAP = 64, 12, 6  # pixels
_MOST = 400


def write_sheet(triggers: TriggerSet, path: Path) -> None:
    """Draws the images (of more than 400 the first), their labels below. As secret as the set itself."""
    count = min(len(triggers), _MOST)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width, height = _SIDE + _GAP, _SIDE + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    images, labels = triggers.split.images.numpy(), triggers.split.labels.tolist()
    for index in range(count):
        pixels = images[index]
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
        left, top = _GAP + index % columns * width, _GAP + index // columns * height
        sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, top))
        draw.text((left + 1, top + _SIDE), str(labels[index]), fill="black")
    with whole_file(path, mode=SECRET) as partial:
        sheet.save(partial, format="png")
