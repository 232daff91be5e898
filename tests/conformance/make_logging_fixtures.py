"""Writes tests/fixtures/logging.json: what fairseq 0.12 prints and stores in the scenarios of
tests/logging/logging_scenarios.py.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    python tests/conformance/make_logging_fixtures.py
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
OUT = TESTS / "fixtures" / "logging.json"


def main() -> None:
    """Run every scenario under fairseq 0.12 and write the file."""
    sys.path.insert(0, str(TESTS / "logging"))
    from logging_scenarios import SCENARIOS

    found = {scenario.__name__: scenario() for scenario in SCENARIOS}
    OUT.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{sum(map(len, found.values()))} lines in {OUT}")


if __name__ == "__main__":
    main()
