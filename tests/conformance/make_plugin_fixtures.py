"""Writes tests/fixtures/plugins.json: what fairseq 0.12 prints when it trains with the plugins of plugins/.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    python tests/conformance/make_plugin_fixtures.py
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_training_fixtures import command
from plugin_cases import COMMANDS, words
from training_cases import printed

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "plugins.json"


def main(names: list[str]) -> None:
    """Run every command and write its lines."""
    found = json.loads(OUT.read_text()) if names else {}
    for name in names or COMMANDS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "run")
            module, line = words(name, folder, lambda w, at=Path(scratch): command("preprocess", w, at) and None)
            found[name] = printed(command(module, line, Path(scratch)))
            print(name, len(found[name]), "lines", file=sys.stderr)
    OUT.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
