"""Makes tests/fixtures/preprocess/expected.json by running fairseq 0.12's fairseq-preprocess.

    python tests/conformance/make_preprocess_fixtures.py --oracle /path/to/python [--data FOLDER]

`--oracle` is an interpreter with fairseq 0.12.3 installed. `--data` is a folder with `glue/RTE` and `roberta-bpe` (see
tests/conftest.py); with it the digests of a slice of RTE, encoded with fairseq's own BPE, are made too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from preprocess_cases import CASES, arguments, digests, write_corpus  # noqa: E402
from rte_slice import RTE_LINES, make_rte_bin_with_oracle  # noqa: E402

EXPECTED = HERE.parent / "fixtures" / "preprocess" / "expected.json"


def run_oracle(oracle: Path, folder: Path, words: list[str]) -> None:
    env = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(oracle), "-m", "fairseq_cli.preprocess", *words], cwd=folder, env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"fairseq-preprocess failed: {done.stderr.strip().splitlines()[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_corpus(folder)
        for case in CASES:
            run_oracle(args.oracle, folder, arguments(case))
            expected[case] = digests(folder / case)
            print(case, len(expected[case]), "files")
    if args.data:
        with tempfile.TemporaryDirectory() as temporary:
            expected["rte_slice"] = digests(
                make_rte_bin_with_oracle(args.oracle, args.data, Path(temporary), RTE_LINES)
            )
    EXPECTED.parent.mkdir(parents=True, exist_ok=True)
    EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
