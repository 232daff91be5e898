"""The config with which a model is trained on a data folder of one's own: DATA/train.yaml.

    settings(num_classes=3)                         # from scratch: 2 layers, 256 wide
    settings(num_classes=1, start=Path("minilm/model.pt"))  # from an imported model

`examples/own_data/config` has the same as files to copy. Everything is an ordinary key of `fairseq-hydra-train`, and
can be changed in the file or on the command line.
"""

from pathlib import Path
from typing import Any, Optional

import yaml

from fairseq.checkpoint.contents import read_outline
from fairseq.dataclass.models import RobertaConfig
from fairseq.dataclass.utils import to_container
from fairseq.errors import CheckpointError

POSITIONS = 128  # tokens of an example; what is longer is cut
SCRATCH = {
    "encoder_layers": 2, "encoder_embed_dim": 256, "encoder_ffn_embed_dim": 1024, "encoder_attention_heads": 4,
    "dropout": 0.1, "attention_dropout": 0.1, "pooler_dropout": 0.1,
}  # fmt: skip


def settings(num_classes: int, examples: int, start: Optional[Path] = None) -> dict[str, Any]:
    """Keys and values of a config for `num_classes` classes; 1 is a regression.

    Args:
        examples: in the training set; sets how long the learning rate rises.
        start: checkpoint of an imported model, from which training starts.
    """
    regression = num_classes == 1
    batch, epochs = 32, 3 if start else 10
    updates = -(-examples // batch) * epochs
    metric = "pearson_and_spearman" if regression else "accuracy"
    model = imported_shape(start) if start else SCRATCH
    positions = min(POSITIONS, model.get("max_positions", POSITIONS))
    config: dict[str, Any] = {
        "common": {"log_interval": 50},
        "task": {
            "_name": "sentence_prediction",
            "data": "???",
            "init_token": 0,
            "separator_token": 2,
            "num_classes": num_classes,
            "max_positions": positions,
            "shorten_method": "truncate",
            **({"regression_target": True} if regression else {}),
        },
        "criterion": {
            "_name": "sentence_prediction",
            **({"regression_target": True, "report_pearson_and_spearman": True} if regression else {}),
        },
        "checkpoint": {
            "no_epoch_checkpoints": True,
            "best_checkpoint_metric": metric,
            "maximize_best_checkpoint_metric": True,
        },
        "distributed_training": {"distributed_world_size": 1},
        "dataset": {"batch_size": batch, "required_batch_size_multiple": 1, "num_workers": 0},
        "optimizer": {"_name": "adam", "weight_decay": 0.01, "adam_betas": "(0.9,0.98)", "adam_eps": 1e-06},
        "lr_scheduler": {"_name": "polynomial_decay", "warmup_updates": max(1, updates * 6 // 100)},
        "optimization": {
            "clip_norm": 1.0,
            "lr": [0.0001 if start else 0.0005],
            "max_epoch": epochs,
            "max_update": updates,
        },
        "model": {"_name": "roberta", **{key: value for key, value in model.items() if key != "max_positions"}},
    }
    if start is not None:
        config["checkpoint"] |= {
            "restore_file": str(start.resolve()),
            "reset_optimizer": True,
            "reset_dataloader": True,
            "reset_meters": True,
        }
        config["distributed_training"]["find_unused_parameters"] = True
    return config


def imported_shape(path: Path) -> dict[str, Any]:
    """What of a checkpoint's model is not RoBERTa-base's.

    Raises:
        CheckpointError: it is no RoBERTa.
    """
    cfg = read_outline(str(path))["cfg"]
    model = {} if cfg is None or cfg.get("model") is None else to_container(cfg.model)
    if not str(model.get("_name")).startswith("roberta"):
        raise CheckpointError(f"{path} is a checkpoint of {model.get('_name')}; fairseq-import-hf makes one of RoBERTa")
    usual = vars(RobertaConfig())
    shape = {key: value for key, value in model.items() if key in usual and value != usual[key]}
    return {key: value for key, value in shape.items() if key != "_name"}


def write(path: Path, config: dict[str, Any], comment: str) -> None:
    """Write a config as YAML, with `comment` in front."""
    body = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    path.write_text(f"# @package _group_\n# {comment}\n\n{body}", encoding="utf-8")
