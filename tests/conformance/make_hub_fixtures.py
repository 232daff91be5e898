"""Writes tests/fixtures/hub.json: what fairseq 0.12's RobertaHubInterface answers on the folder of hub_cases.py.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python tests/conformance/make_hub_fixtures.py [TARGET]
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hub_cases import results, settings, write_folder

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "hub.json"


def main(target: Path) -> None:
    """Ask, and write the answers."""
    from fairseq.models.roberta import RobertaModel, alignment_utils

    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name))
        roberta = RobertaModel.from_pretrained(str(folder), "model.pt", str(folder), **settings(folder))
        found = results(roberta, alignment_utils)
    short = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 7))
    rows = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in short.items()]
    target.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"{target} {target.stat().st_size}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
