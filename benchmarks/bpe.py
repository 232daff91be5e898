"""BPE through `tokenizers` against GPT-2's published BPE in plain Python: seconds for the same text, alternating.

    python benchmarks/bpe.py --bpe-dir roberta-bpe --text glue/RTE/train.tsv --columns 1,2

The plain side is `tests/data/pure_python_bpe.py`, in two forms: as published, with a memory of the words it has seen,
and without it. Both sides start cold in each repeat, as in a run of a preprocessing script; `warm` is a second pass.
Equality of all ids is asserted.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "data")]


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def texts(path: Path, columns: str) -> list[str]:
    """The lines of a text file, or the cells in `columns` of a TSV file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not columns:
        return lines
    rows = [line.split("\t") for line in lines]
    return [row[int(column)] for row in rows for column in columns.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bpe-dir", type=Path, required=True, help="folder with encoder.json and vocab.bpe")
    parser.add_argument("--text", type=Path, required=True, help="text file, encoded line by line")
    parser.add_argument("--columns", default="", help="of a TSV file: the columns with text, from 0")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    args = parser.parse_args()

    from pure_python_bpe import PurePythonBPE

    from benchmarks.harness import machine
    from fairseq.data.encoders.gpt2_bpe import get_encoder

    files = str(args.bpe_dir / "encoder.json"), str(args.bpe_dir / "vocab.bpe")
    lines = texts(args.text, args.columns)
    plain = PurePythonBPE(*files)
    runs: dict[str, list[float]] = {name: [] for name in ("ours", "ours, warm", "words kept", "kept, warm", "as it is")}
    for _ in range(args.repeats):
        ours = get_encoder(*files)
        ours.encode("x")  # the library makes its tables with the first call
        plain.known.clear()
        took, ids = seconds(lambda ours=ours: ours.encode_batch(lines))
        runs["ours"].append(took)
        runs["ours, warm"].append(seconds(lambda ours=ours: ours.encode_batch(lines))[0])
        took, expected = seconds(lambda: [plain.encode(line) for line in lines])
        runs["words kept"].append(took)
        runs["kept, warm"].append(seconds(lambda: [plain.encode(line) for line in lines])[0])
        runs["as it is"].append(seconds(lambda: [plain.encode(line, keep=False) for line in lines])[0])
        assert ids == expected
    print(f"{args.text}: {len(lines)} texts, {sum(map(len, lines)) / 1e6:.2f} million characters")
    pairs = {"ours": ("words kept", "as it is"), "ours, warm": ("kept, warm", "as it is")}
    ratios = {}
    for name, values in runs.items():
        print(f"  {name:<12} {statistics.median(values):8.3f} s   ({min(values):.3f} - {max(values):.3f})")
    for name, others in pairs.items():
        for other in others:
            each = [theirs / own for theirs, own in zip(runs[other], runs[name], strict=True)]
            ratios[f"{other} / {name}"] = statistics.median(each)
            print(f"  {other} / {name:<12} {statistics.median(each):6.1f} x   ({min(each):.1f} - {max(each):.1f})")
    if args.json:
        report = {"machine": machine(2), "text": args.text.name, "seconds": runs, "ratios": ratios}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
