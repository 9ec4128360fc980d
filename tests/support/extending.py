"""The examples of docs/extending.md, as modules: the page is what the tests of the registries run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
EXAMPLES: dict[str, str] = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))


def example(name: str) -> ModuleType:
    """The module that an example of the page is."""
    known = f"extending.{name}"
    if known not in sys.modules:
        sys.modules[known] = module = ModuleType(known)  # where a dataclass looks its annotations up
        exec(compile(EXAMPLES[name], str(PAGE), "exec"), module.__dict__)
    return sys.modules[known]


SignBits = example("sign_bits").SignBits
Quantization = example("quantization").Quantization
RelativeMagnitude = example("relative_magnitude").RelativeMagnitude
PathCount = example("path_count").PathCount
