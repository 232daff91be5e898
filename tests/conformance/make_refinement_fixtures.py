"""Writes tests/fixtures/refinement.json: what models that refine whole sentences give in fairseq 0.12, see
refinement_cases.py and refinement_runs.py.

TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 PYTHON_WITH_FAIRSEQ_0_12 tests/conformance/make_refinement_fixtures.py

`... START WORD ...` writes the weights that the run of a command line begins with.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import refinement_cases
from make_training_fixtures import command
from multilingual_cases import write_start
from refinement_runs import GENERATED, RUNS, generating, told, words
from training_cases import printed
from translation_cases import binarise, write_pairs

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "refinement.json"
ARCHS = [
    "nonautoregressive_transformer", "nonautoregressive_transformer_wmt_en_de", "nacrf_transformer",
    "iterative_nonautoregressive_transformer", "iterative_nonautoregressive_transformer_wmt_en_de",
    "cmlm_transformer", "cmlm_transformer_wmt_en_de", "levenshtein_transformer", "levenshtein_transformer_wmt_en_de",
    "levenshtein_transformer_vaswani_wmt_en_de_big", "levenshtein_transformer_wmt_en_de_big", "insertion_transformer",
]  # fmt: skip


def runs() -> dict:
    """Printed lines of the runs, and what their models generate."""
    found = {"runs": {}, "generated": {}}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_pairs(folder / "text")
        data = binarise(folder, True, lambda line: command("preprocess", line, cwd=folder) and None)
        for name in RUNS:
            start = folder / f"{name}.pt"
            line = words(name, data, folder / name, start)
            subprocess.run([sys.executable, "-W", "ignore", __file__, start, *line], check=True, cwd=folder)
            found["runs"][name] = printed(command("train", line, folder))
        for name, (run, _) in GENERATED.items():
            line = generating(name, data, folder / run / "checkpoint_last.pt")
            found["generated"][name] = told(command("generate", line, folder))
    return found


def main() -> None:
    """Run all and write the file."""
    from family_cases import flags, parsed, plain

    found = {
        "noises": refinement_cases.noises(),
        "cases": {name: refinement_cases.describe(name) for name in refinement_cases.CASES},
        "architectures": {arch: {key: plain(value) for key, value in vars(parsed(arch)).items()} for arch in ARCHS},
        "flags": {arch: flags(arch) for arch in ARCHS},
        **runs(),
    }
    parts = []
    for part, each in found.items():
        entries = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in each.items()]
        parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(entries) + "\n}")
    OUT.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_start(Path(sys.argv[1]), sys.argv[2:])
    else:
        main()
