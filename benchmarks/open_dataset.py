"""Opening ten million sentences: seconds until a data set can be asked for its length, and the memory it then takes.

    python benchmarks/open_dataset.py --oracle /path/to/python

Writes an mmap pair of `--items` sentences (12 bytes of index and about 20 bytes of data each) to a temporary folder,
opens it in a new process and reads 1,000 items across the file. Memory is the growth of the process's resident set:
its peak, mapped pages included, after opening; without the pages of mapped files, which the system can drop and
processes share, after reading. Bars: 0.2 s; no more memory than the index.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from harness import Side, add_arguments, alternate, finish, sides, table

# the same calls on both sides; the import of torch is not part of opening
OPEN = """
import json, sys, time
from fairseq.data import indexed_dataset
def mib(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))
peak, own, start = mib("VmHWM"), mib("RssAnon"), time.perf_counter()
dataset = indexed_dataset.make_dataset(sys.argv[1], impl="mmap")
count = len(dataset)
opened = time.perf_counter() - start
after_opening = mib("VmHWM") - peak
for index in range(0, count, max(1, count // 1000)):
    dataset[index]
print(json.dumps({
    "open": opened, "open and read 1,000 items": time.perf_counter() - start,
    "memory after opening": after_opening, "own memory after reading": mib("RssAnon") - own,
}))
"""
UNITS = {
    "open": "s",
    "open and read 1,000 items": "s",
    "memory after opening": "MiB",
    "own memory after reading": "MiB",
}


def write_pair(prefix: Path, items: int) -> None:
    """An mmap pair of `items` sentences of 5 to 15 tokens (uint16)."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 16, items).astype("<i4")
    ends = np.cumsum(sizes, dtype="<i8") * 2
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00")
        np.array([1], "<u8").tofile(file)
        np.array([8], "<u1").tofile(file)  # the code of uint16
        np.array([items], "<u8").tofile(file)
        sizes.tofile(file)
        (ends - 2 * sizes.astype("<i8")).tofile(file)
    with open(f"{prefix}.bin", "wb") as file:
        rng.integers(4, 50000, int(ends[-1]) // 2, dtype=np.uint16).tofile(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000_000, metavar="N", help="sentences (default: %(default)s)")
    add_arguments(parser, repeats=5)
    args = parser.parse_args()
    both = sides(args)
    with tempfile.TemporaryDirectory() as temporary:
        prefix = Path(temporary) / "train"
        write_pair(prefix, args.items)
        index = Path(f"{prefix}.idx").stat().st_size / 2**20
        figures: dict[str, dict[str, list[float]]] = {name: {side.label: [] for side in both} for name in UNITS}

        def measure(side: Side) -> float:
            done = subprocess.run(
                [side.python, "-c", OPEN, str(prefix)],
                capture_output=True,
                text=True,
                check=True,
                cwd=temporary,
                env=side.environment(args.threads),
            )
            values = json.loads(done.stdout.splitlines()[-1])
            for name in UNITS:
                figures[name][side.label].append(values[name])
            return values["open"]

        alternate(both, measure, args.repeats, warm_up=False)
        print(f"{args.items:,} items, index {index:.0f} MiB")
        results = {name: table(name, unit, figures[name]) for name, unit in UNITS.items()}
    finish(args, both, {"index_mib": index, **results})


if __name__ == "__main__":
    main()
