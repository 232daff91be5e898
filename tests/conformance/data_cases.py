"""What `fairseq.data` does, as JSON: under fairseq 0.12 the fixtures, under this package what to compare with them.

Only names that both have are used. `CASES` maps a name to a function without arguments.
"""

import data_cases_basics
import data_cases_denoising
import data_cases_iterators
import data_cases_mixing
import data_cases_tasks
import data_cases_wrappers
from data_case_tools import CASES

__all__ = [
    "CASES",
    "data_cases_basics",
    "data_cases_denoising",
    "data_cases_iterators",
    "data_cases_mixing",
    "data_cases_tasks",
    "data_cases_wrappers",
]
