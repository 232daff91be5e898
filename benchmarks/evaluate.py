"""Sentences scored per second by `fairseq-validate` on RTE's development set, ours beside fairseq 0.12.

    python benchmarks/evaluate.py --oracle /path/to/python --size base --sentences 96

One update of our `fairseq-train` makes a checkpoint that both sides score. Counted is the time from the first batch's
forward pass to the end of the last one's: reading and collating in between is, starting up is not. Both must print the
same accuracy. On a machine that is shared, `--threads 1 --clock cpu` counts processor time. Bar: 1.5x.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness import REPOSITORY, Side, alternate, finish, sides, table
from tiny import data_folder, parser_with_data

CLOCKS = {"wall": "perf_counter", "cpu": "process_time"}
SIZES = {"small": (2, 128, 512, 4), "base": (12, 768, 3072, 12)}  # layers, width, feed-forward width, heads

# the same on both sides: the command's own entry point, with a clock around the task's valid_step
TIMED = """
import json, sys, time
clock = getattr(time, sys.argv.pop(1))
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from fairseq_cli.validate import cli_main
first, last, sentences, plain = [], [0.0], [0], SentencePredictionTask.valid_step
def timed(self, sample, *args, **kwargs):
    first.append(clock())
    result = plain(self, sample, *args, **kwargs)
    last[0] = clock()
    sentences[0] += sample["target"].numel()
    return result
SentencePredictionTask.valid_step = timed
cli_main()
print(json.dumps({"seconds": last[0] - first[0], "sentences": sentences[0]}))
"""


def train_words(data: Path, size: str, folder: Path) -> list[str]:
    layers, width, inner, heads = SIZES[size]
    return f"""
        {data} --task sentence_prediction --arch roberta_base --criterion sentence_prediction --num-classes 2
        --init-token 0 --separator-token 2 --max-positions 512 --encoder-layers {layers} --encoder-embed-dim {width}
        --encoder-ffn-embed-dim {inner} --encoder-attention-heads {heads} --batch-size 2 --optimizer adam --lr 1e-4
        --required-batch-size-multiple 1 --max-update 1 --no-save-optimizer-state --disable-validation --cpu
        --save-dir {folder} --num-workers 0
    """.split()


def shortened(data: Path, sentences: int, folder: Path) -> Path:
    """`data` with the first `sentences` examples of its validation set only."""
    sys.path.insert(0, str(REPOSITORY))
    from fairseq.data.indexed_dataset import make_builder, make_dataset

    shutil.copytree(data, folder)
    for prefix in (path.with_suffix("") for path in data.glob("*/valid.idx")):
        target = folder / prefix.parent.name / "valid"
        items = make_dataset(str(prefix), impl="mmap")
        builder = make_builder(f"{target}.bin", impl="mmap", vocab_size=2**16 + 1)
        for index in range(min(sentences, len(items))):
            builder.add_item(items[index])
        builder.finalize(f"{target}.idx")
    return folder


def main() -> None:
    parser = parser_with_data(__doc__, repeats=5)
    parser.add_argument("--size", choices=SIZES, default="small", help="of the RoBERTa (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="sentences of a batch")
    parser.add_argument("--sentences", type=int, metavar="N", help="score so many only (default: all)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall-clock or processor time")
    args = parser.parse_args()
    both = sides(args)
    with data_folder(args) as (folder, data):
        if args.sentences:
            data = shortened(data, args.sentences, folder / "shortened")
        Side("ours", both[0].python, REPOSITORY).seconds(
            "fairseq_cli.train", train_words(data, args.size, folder / "run"), args.threads
        )
        words = f"""
            {data} --path {folder / "run" / "checkpoint_last.pt"} --valid-subset valid --batch-size {args.batch_size}
            --required-batch-size-multiple 1 --task sentence_prediction --criterion sentence_prediction --cpu
            --num-workers 0 --log-format simple
        """.split()
        scores: set[str] = set()

        def measure(side: Side) -> float:
            command, environment = (
                [side.python, "-c", TIMED, CLOCKS[args.clock], *words],
                side.environment(args.threads),
            )
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
            if done.returncode:
                raise SystemExit(f"{side.label}: {done.stderr[-1000:]}")
            scores.update(re.findall(r"\baccuracy \S+", done.stdout + done.stderr))
            found = json.loads(done.stdout.splitlines()[-1])
            return found["sentences"] / found["seconds"]

        name = f"sentences per second, {args.size}"
        results = {name: table(name, "/s", alternate(both, measure, args.repeats, warm_up=False), better="higher")}
        if len(scores) != 1:
            raise SystemExit(f"the sides do not agree: {', '.join(sorted(scores)) or 'no accuracy was printed'}")
    finish(args, both, results)


if __name__ == "__main__":
    main()
