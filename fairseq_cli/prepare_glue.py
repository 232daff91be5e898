"""fairseq-prepare-glue: GLUE's original TSV files -> data folders for fine-tuning RoBERTa.

fairseq-prepare-glue --task RTE --glue-dir glue --dest RTE-bin
fairseq-prepare-glue --task ALL --dest .           # downloads everything; CoLA-bin, MNLI-bin, ...
"""

import argparse
import os
from pathlib import Path

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-prepare-glue",
        description="Make sentence_prediction data folders from GLUE's original TSV files.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--task", required=True, metavar="NAME", help="CoLA, MNLI, MRPC, QNLI, QQP, RTE, SST-2, STS-B, WNLI or ALL"
    )
    parser.add_argument(
        "--glue-dir", type=Path, metavar="DIR", help="folder with GLUE's files (default: download the task)"
    )
    parser.add_argument(
        "--dest", type=Path, metavar="DIR", help="data folder to make (default: NAME-bin); for ALL, the folder above"
    )
    parser.add_argument(
        "--bpe-dir", type=Path, metavar="DIR", help="encoder.json, vocab.bpe and dict.txt (default: download them)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="encode with so many threads (default: all cores)")
    parser.add_argument("--overwrite", action="store_true", help="replace a data folder that is there already")
    parser.add_argument(
        "--text-only", action="store_true", help="write the columns as text, {split}.{input0,input1,label}, and stop"
    )
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    if args.workers:
        os.environ["RAYON_NUM_THREADS"] = str(args.workers)  # read by the BPE library when it starts its threads
    from fairseq.data.encoders.gpt2_files import fetch_bpe
    from fairseq.data.glue import download, prepare
    from fairseq.data.glue.tasks import TASKS, task
    from fairseq_cli.train import setup_logging

    setup_logging()
    names = list(TASKS) if args.task == "ALL" else [task(args.task).name]
    bpe_dir = args.bpe_dir if args.text_only or args.bpe_dir else fetch_bpe()
    for name in names:
        dest = args.dest or Path(".")
        if args.dest is None or args.task == "ALL":
            dest = dest / f"{name}-bin"
        glue_dir = args.glue_dir or download.fetch_task(name)
        if args.text_only:
            prepare.write_text(name, glue_dir, dest, args.overwrite)
            continue
        counts = prepare.prepare(name, glue_dir, dest, bpe_dir, overwrite=args.overwrite)
        print(f"{name}: {', '.join(f'{split} {count}' for split, count in counts.items())} examples in {dest}")


if __name__ == "__main__":
    cli_main()
