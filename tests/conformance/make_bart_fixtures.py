"""Writes tests/fixtures/bart.json: what fairseq 0.12's BARTHubInterface answers on the folder of bart_cases.py.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python tests/conformance/make_bart_fixtures.py [TARGET]
"""

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from bart_cases import results, write_folder
from hub_cases import settings

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "bart.json"


def main(target: Path) -> None:
    """Ask, and write the answers."""
    if not hasattr(np, "compat"):  # fairseq 0.12 still asks NumPy for Python 2's long
        np.compat = SimpleNamespace(long=int)  # type: ignore[attr-defined]
    from fairseq.models.bart import BARTModel

    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name))
        found = results(BARTModel.from_pretrained(str(folder), "model.pt", str(folder), **settings(folder)))
    short = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 6))
    rows = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in short.items()]
    target.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"{target} {target.stat().st_size}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
