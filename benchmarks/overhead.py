"""Training speed where the framework is what costs: a 2-layer, 128-wide RoBERTa on RTE, batch 16, ours beside fairseq
0.12.

    python benchmarks/overhead.py --oracle /path/to/python --data RTE-bin

Both sides run `fairseq-train` with the same flags and print a line every 25 updates; updates per second are taken
from when these lines appear, without the first 25 (start-up, memory allocation). Bar: at least 1.3x.
"""

import re
import statistics
import tempfile
from itertools import pairwise

from harness import Side, alternate, finish, sides, table
from tiny import data_folder, parser_with_data, train_words

EVERY = 20


def updates_per_second(side: Side, words: list[str], threads: int) -> float:
    times: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as cwd:
        for seconds, line in side.lines("fairseq_cli.train", words, threads, cwd):
            if "train_inner" in line and (found := re.search(r"num_updates=(\d+)", line)):
                times[int(found[1])] = seconds
    updates = sorted(times)
    # the median over intervals, so that a moment in which the machine does something else does not count
    return statistics.median((b - a) / (times[b] - times[a]) for a, b in pairwise(updates))


def main() -> None:
    parser = parser_with_data(__doc__, repeats=5)
    parser.add_argument("--updates", type=int, default=150, metavar="N", help="updates of each run")
    parser.add_argument("--num-workers", type=int, default=1, metavar="N", help="data loading processes (fairseq: 1)")
    args = parser.parse_args()
    both = sides(args)
    with data_folder(args) as (_, data):
        words = train_words(data, args.updates, EVERY, args.num_workers)

        def measure(side: Side) -> float:
            return updates_per_second(side, words, args.threads)

        values = alternate(both, measure, args.repeats, warm_up=False)
    results = {"updates per second": table("updates per second", "/s", values, better="higher")}
    finish(args, both, results)


if __name__ == "__main__":
    main()
