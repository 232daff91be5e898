"""BPE through `tokenizers` against a pure-Python GPT-2 BPE: lines a second on the same text, alternating, in one run.

    python benchmarks/bpe.py --bpe-dir roberta-bpe --text glue/RTE/train.tsv

The pure-Python side is `tests/data/pure_python_bpe.py`, with its cache of words cold in each repeat, as in a run of a
preprocessing script; `--warm` keeps it.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "data")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bpe-dir", type=Path, required=True, help="folder with encoder.json and vocab.bpe")
    parser.add_argument("--text", type=Path, required=True, help="text file, encoded line by line")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warm", action="store_true", help="keep the pure-Python side's cache of words")
    args = parser.parse_args()

    from pure_python_bpe import PurePythonBPE

    from fairseq.data.encoders import build_bpe

    files = str(args.bpe_dir / "encoder.json"), str(args.bpe_dir / "vocab.bpe")
    ours = build_bpe(SimpleNamespace(_name="gpt2", gpt2_encoder_json=files[0], gpt2_vocab_bpe=files[1]))
    plain = PurePythonBPE(*files)
    lines = args.text.read_text(encoding="utf-8").splitlines()
    ratios = []
    for _ in range(args.repeats):
        if not args.warm:
            plain.known.clear()
        start = time.perf_counter()
        expected = [plain.encode(line) for line in lines]
        middle = time.perf_counter()
        encoded = ours.bpe.encode_batch(lines)
        end = time.perf_counter()
        assert encoded == expected
        ratios.append((middle - start) / (end - middle))
        print(f"{len(lines)} lines: pure Python {middle - start:.2f} s, ours {end - middle:.3f} s, {ratios[-1]:.1f}x")
    print(f"median {statistics.median(ratios):.1f}x, from {min(ratios):.1f}x to {max(ratios):.1f}x")


if __name__ == "__main__":
    main()
