"""The examples of docs/extending.md, as modules: the page is what the tests of the registries run."""

from __future__ import annotations

import atexit
import importlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
EXAMPLES: dict[str, str] = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))
PLUG_IN = "mean_bits"  # in no registry: handed over as a file

_FOLDER = tempfile.mkdtemp(prefix="ticket_sig-extending-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
sys.path.append(_FOLDER)
for _name, _text in EXAMPLES.items():
    Path(_FOLDER, f"{_name}.py").write_text(_text)

SignBits = importlib.import_module("sign_bits").SignBits
Rounding = importlib.import_module("rounding").Rounding
RelativeMagnitude = importlib.import_module("relative_magnitude").RelativeMagnitude
SmallNet = importlib.import_module("small_net").SmallNet
PathCount = importlib.import_module("path_count").PathCount
