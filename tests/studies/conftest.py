"""A tiny sentence classification, and configs that train it in a fraction of a second."""

from pathlib import Path

import pytest

from fairseq.data.acceptability.binarize import write_acceptability

CONFIG = """\
# @package _group_
common: {log_interval: 2, cpu: true}
task: {_name: sentence_prediction, data: DATA, init_token: 0, separator_token: 2, num_classes: 2, max_positions: 64}
criterion: {_name: sentence_prediction}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
optimization: {lr: [0.01], max_update: 4}
checkpoint: {best_checkpoint_metric: accuracy, maximize_best_checkpoint_metric: true, no_epoch_checkpoints: true}
dataset: {batch_size: 8, required_batch_size_multiple: 1, num_workers: 0}
distributed_training: {distributed_world_size: 1}
model:
  _name: roberta
  encoder_layers: 1
  encoder_embed_dim: 16
  encoder_ffn_embed_dim: 16
  encoder_attention_heads: 2
  max_positions: 64
"""


@pytest.fixture(scope="session")
def config_dir(tmp_path_factory) -> Path:
    """A folder with `tiny.yaml`: four updates of a small RoBERTa on 48 sentences."""
    folder = tmp_path_factory.mktemp("study-config")
    write_acceptability(folder / "data", seed=1, train=48, valid=20)
    (folder / "tiny.yaml").write_text(CONFIG.replace("DATA", str(folder / "data")))
    return folder
