"""What users' own code relies on, as JSON: fixtures under fairseq 0.12, what to compare with them under this package.

Only names that both have are used. `CASES` maps a name to a function without arguments.
"""

import importlib
from pathlib import Path

from name_case_tools import CASES

__all__ = ["CASES"]

for path in sorted(Path(__file__).parent.glob("name_cases_*.py")):
    importlib.import_module(path.stem)
