"""Write tests/fixtures/generation/cases.json: run once, with the Python of an environment that has fairseq 0.12.

TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 PYTHON_OF_FAIRSEQ_0_12 tests/conformance/make_generation_fixtures.py [TARGET]

The models must be there; `generation_models.py`, run in the same way, trains them.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "fixtures" / "generation" / "cases.json"


def main(target: Path) -> None:
    import numpy as np

    import fairseq

    if not hasattr(np, "compat"):  # fairseq 0.12 still asks NumPy for Python 2's long
        np.compat = SimpleNamespace(long=int)
    sys.path.insert(0, str(HERE))
    import generation_cases_more  # noqa: F401  # adds cases
    from generation_cases import CASES

    assert not Path(fairseq.__file__).is_relative_to(HERE.parents[1]), (
        "run this with fairseq 0.12, not with this package"
    )
    lines = [f"{json.dumps(name)}: {json.dumps(make(), separators=(',', ':'))}" for name, make in CASES.items()]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(lines)} cases written to {target.name}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
