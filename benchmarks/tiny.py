"""The tiny model and command line that the benchmarks train, a 2-layer, 128-wide RoBERTa on RTE, batch 16, and what
they set up for it.

    args = parser_with_data(__doc__, repeats=5).parse_args()
    with data_folder(args) as (folder, data): ...
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness import REPOSITORY, add_arguments

CONFIG = """\
# @package _group_
common: {log_format: simple, log_interval: 1, cpu: true}
task: {_name: sentence_prediction, data: "?", init_token: 0, separator_token: 2, max_positions: 512, num_classes: 2}
criterion: {_name: sentence_prediction}
optimizer: {_name: adam, adam_betas: "(0.9,0.98)", adam_eps: 1.0e-06, weight_decay: 0.1}
lr_scheduler: {_name: polynomial_decay, warmup_updates: 10}
optimization: {lr: [0.0001], max_update: 2}
checkpoint: {no_save: true}
dataset: {batch_size: 16, required_batch_size_multiple: 1, disable_validation: true}
distributed_training: {distributed_world_size: 1}
model:
  _name: roberta
  encoder_layers: 2
  encoder_embed_dim: 128
  encoder_ffn_embed_dim: 512
  encoder_attention_heads: 4
"""


def train_words(data: Path, updates: int, log_interval: int, num_workers: int = 1) -> list[str]:
    """Flags of `fairseq-train`, the same for both sides."""
    return f"""
        {data} --task sentence_prediction --arch roberta_base --criterion sentence_prediction --num-classes 2
        --init-token 0 --separator-token 2 --max-positions 512 --encoder-layers 2 --encoder-embed-dim 128
        --encoder-ffn-embed-dim 512 --encoder-attention-heads 4 --batch-size 16 --required-batch-size-multiple 1
        --optimizer adam --adam-betas (0.9,0.98) --adam-eps 1e-06 --weight-decay 0.1 --lr-scheduler polynomial_decay
        --lr 1e-4 --warmup-updates 10 --total-num-update {updates} --max-update {updates} --clip-norm 0.0 --no-save
        --disable-validation --log-format simple --log-interval {log_interval} --num-workers {num_workers} --cpu
    """.split()


def rte_bin(given: str | None, folder: Path) -> Path:
    """The RTE data folder: as given, or prepared from FAIRSEQ_TEST_DATA (`glue/RTE` and `roberta-bpe`)."""
    if given:
        return Path(given).resolve()
    shared = Path(os.environ.get("FAIRSEQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (shared / "glue" / "RTE").is_dir():
        sys.exit("give --data RTE-bin (made by fairseq-prepare-glue), or set FAIRSEQ_TEST_DATA")
    sys.path.insert(0, str(REPOSITORY))
    from fairseq.data.glue.prepare import prepare

    prepare("RTE", shared / "glue", folder / "RTE-bin", shared / "roberta-bpe")
    return folder / "RTE-bin"


def parser_with_data(doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """Arguments of every comparison, and `--data`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="RTE-bin", help="data folder (default: RTE, made from FAIRSEQ_TEST_DATA)")
    add_arguments(parser, repeats)
    return parser


@contextlib.contextmanager
def data_folder(args: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """(a temporary folder, the RTE data)."""
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary), rte_bin(args.data, Path(temporary))
