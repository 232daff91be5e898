"""Write tests/fixtures/lm/cases.json: run once, with the Python of an environment that has fairseq 0.12.

PYTHON_OF_FAIRSEQ_0_12 tests/conformance/make_lm_fixtures.py [TARGET]
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "fixtures" / "lm" / "cases.json"


def rounded(value):
    """Floats to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def main(target: Path) -> None:
    import fairseq

    sys.path.insert(0, str(HERE))
    from lm_cases import CASES

    assert not Path(fairseq.__file__).is_relative_to(HERE.parents[1]), (
        "run this with fairseq 0.12, not with this package"
    )
    lines = [
        f"{json.dumps(name)}: {json.dumps(rounded(make()), separators=(',', ':'))}" for name, make in CASES.items()
    ]
    target.parent.mkdir(exist_ok=True)
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(lines)} cases written to {target.name}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
