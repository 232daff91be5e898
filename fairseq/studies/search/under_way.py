"""A search that is under way: its configuration, what is chosen, and the studies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.precision import Precision
from fairseq.studies.search.records import Record, read_records
from fairseq.studies.search.spaces import Space
from fairseq.studies.search.trials import Trials


@dataclass
class Search:
    """A search that is under way.

    Attributes:
        checks: what each choice of the architecture changes.
        studies: in the order in which they are run.
    """

    config: SearchConfig
    out: Path
    space: Space
    precision: Optional[Precision]
    checks: list[dict[str, Any]]
    studies: list[Trials]

    @property
    def records(self) -> list[Record]:
        """All trials so far."""
        return [record for trials in self.studies for record in read_records(trials.name, trials.study)]
