"""Write tests/fixtures/families.json: what small models of every family give in fairseq 0.12 (see family_cases.py).

TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 PYTHON_WITH_FAIRSEQ_0_12 tests/conformance/make_family_fixtures.py [FILE]
"""

import json
import sys
from pathlib import Path

import family_cases

TARGET = Path(__file__).resolve().parent.parent / "fixtures" / "families.json"


def main(target: Path) -> None:
    archs = family_cases.architectures()
    content = {
        "cases": {name: family_cases.describe(name) for name in family_cases.CASES},
        "architectures": {
            a: {k: family_cases.plain(v) for k, v in vars(family_cases.parsed(a)).items()} for a in archs
        },
        "followers": {arch: family_cases.followers(arch) for arch in archs},
        "flags": {arch: family_cases.flags(arch) for arch in archs},
    }
    lines = []
    for part, each in content.items():
        entries = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in each.items()]
        lines.append(f"{json.dumps(part)}: {{\n" + ",\n".join(entries) + "\n}")
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
