"""How long one waits: `fairseq-hydra-train --help`, and the first update of a tiny model, ours beside fairseq 0.12.

The first row is Python alone (`python -m __future__`, a module that does nothing).

    python benchmarks/startup.py --oracle /path/to/python --data RTE-bin

The first update is the time from starting the command to its first progress line (log_interval 1), for
`fairseq-hydra-train` and for `fairseq-train`. Bars: --help at most 0.15 s more than Python alone, first update
under 4 s.
"""

import tempfile

from harness import Side, alternate, finish, sides, table
from tiny import CONFIG, data_folder, parser_with_data, train_words


def first_update(side: Side, module: str, words: list[str], threads: int) -> float:
    """Seconds until the first line that reports an update."""
    with tempfile.TemporaryDirectory() as cwd:
        lines = side.lines(module, words, threads, cwd)
        try:
            for seconds, line in lines:
                if "num_updates=1," in line:
                    return seconds
        finally:
            lines.close()  # type: ignore[attr-defined]
    raise SystemExit(f"{side.label}: {module} reported no update")


def main() -> None:
    args = parser_with_data(__doc__, repeats=5).parse_args()
    both = sides(args)
    with data_folder(args) as (folder, data):
        (folder / "tiny.yaml").write_text(CONFIG)
        hydra = ["--config-dir", str(folder), "--config-name", "tiny", f"task.data={data}"]
        flags = train_words(data, updates=2, log_interval=1)

        def run_python(side: Side) -> float:
            return side.seconds("__future__", [], args.threads)

        def run_help(side: Side) -> float:
            return side.seconds("fairseq_cli.hydra_train", ["--help"], args.threads)

        def run_hydra(side: Side) -> float:
            return first_update(side, "fairseq_cli.hydra_train", hydra, args.threads)

        def run_train(side: Side) -> float:
            return first_update(side, "fairseq_cli.train", flags, args.threads)

        results = {
            name: table(name, "s", alternate(both, measure, args.repeats))
            for name, measure in (
                ("python alone", run_python),
                ("fairseq-hydra-train --help", run_help),
                ("first update, hydra-train", run_hydra),
                ("first update, train", run_train),
            )
        }
    finish(args, both, results)


if __name__ == "__main__":
    main()
