"""Write tests/fixtures/name_cases.json: run once, with the Python of an environment that has fairseq 0.12.

PYTHON_OF_FAIRSEQ_0_12 tests/conformance/make_name_case_fixtures.py [TARGET [CASE...]]
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "fixtures" / "name_cases.json"


def short(value):
    """Numbers with as many digits as are compared."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return [short(item) for item in value] if isinstance(value, (list, tuple)) else value


def main(target: Path, only: list) -> None:
    import numpy as np

    import fairseq

    if not hasattr(np, "compat"):  # fairseq 0.12 still asks NumPy for Python 2's long
        np.compat = SimpleNamespace(long=int)
    sys.path.insert(0, str(HERE))
    from name_cases import CASES

    assert not Path(fairseq.__file__).is_relative_to(HERE.parents[1]), (
        "run this with fairseq 0.12, not with this package"
    )
    results = {name: short(make()) for name, make in CASES.items() if not only or name in only}
    lines = [f"{json.dumps(name)}: {json.dumps(result, separators=(',', ':'))}" for name, result in results.items()]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(lines)} cases written to {target.name}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET, sys.argv[2:])
