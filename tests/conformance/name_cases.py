"""What users' own code relies on, as JSON: fixtures under fairseq 0.12, what to compare with them under this package.

Only names that both have are used. `CASES` maps a name to a function without arguments.
"""

import name_cases_checkpoints
import name_cases_commands
import name_cases_item7
from name_case_tools import CASES

__all__ = ["CASES", "name_cases_checkpoints", "name_cases_commands", "name_cases_item7"]
