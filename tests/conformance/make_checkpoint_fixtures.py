"""Writes tests/fixtures/checkpoints/: two tiny RoBERTa classifiers that fairseq 0.12 trained, and what it does when
it saves.

    argparse.pt    by fairseq-train: `cfg["model"]` is an argparse.Namespace with every flag
    hydra.pt       by fairseq-hydra-train: plain dicts
    data/          their dictionaries
    expected.json  outputs of both models for a fixed batch, and fairseq's own reading of the files
    saving.json    files after each call of `save_checkpoint` in the scenarios of tests/checkpoint/saving_scenarios.py

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python tests/conformance/make_checkpoint_fixtures.py
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
OUT = TESTS / "fixtures" / "checkpoints"
BATCH = [[0, 5, 9, 4, 2], [0, 7, 2, 1, 1]]

FLAGS = """
    --task sentence_prediction --arch roberta --encoder-layers 1 --encoder-embed-dim 8 --encoder-ffn-embed-dim 8
    --encoder-attention-heads 2 --max-positions 16 --num-classes 2 --init-token 0 --separator-token 2
    --criterion sentence_prediction --optimizer adam --lr 0.001 --lr-scheduler polynomial_decay --total-num-update 20
    --warmup-updates 2 --batch-size 4 --required-batch-size-multiple 1 --max-epoch 1 --num-workers 0 --cpu
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric --log-format none
"""

YAML = """# @package _group_
common: {cpu: true, log_format: none}
task: {_name: sentence_prediction, data: "???", num_classes: 2, init_token: 0, separator_token: 2, max_positions: 16}
checkpoint: {best_checkpoint_metric: accuracy, maximize_best_checkpoint_metric: true}
criterion: {_name: sentence_prediction}
dataset: {batch_size: 4, required_batch_size_multiple: 1, num_workers: 0}
optimizer: {_name: adam, weight_decay: 0.1, adam_betas: "(0.9,0.98)", adam_eps: 1e-06}
lr_scheduler: {_name: polynomial_decay, warmup_updates: 2}
optimization: {clip_norm: 0.0, lr: [1e-03], max_update: 10, max_epoch: 1}
model: {_name: roberta, encoder_layers: 1, encoder_embed_dim: 8, encoder_ffn_embed_dim: 8, encoder_attention_heads: 2}
"""


def command(module: str, *words: str, cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", f"fairseq_cli.{module}", *words], cwd=cwd, check=True, capture_output=True)


def prepare(folder: Path) -> None:
    """Twenty symbols, two labels."""
    draw = random.Random(0)
    for split, count in (("train", 40), ("valid", 8)):
        lines = [[str(draw.randrange(20)) for _ in range(draw.randrange(3, 9))] for _ in range(count)]
        (folder / f"{split}.input0").write_text("".join(" ".join(line) + "\n" for line in lines))
        (folder / f"{split}.label").write_text("".join(f"{int(int(line[0]) < 10)}\n" for line in lines))
    for part in ("input0", "label"):
        words = [f"--trainpref=train.{part}", f"--validpref=valid.{part}", f"--destdir=data/{part}", "--workers=1"]
        command("preprocess", "--only-source", *words, cwd=folder)


def train(folder: Path) -> None:
    command("train", "data", *FLAGS.split(), "--save-dir", "by_argparse", cwd=folder)
    (folder / "config").mkdir()
    (folder / "config" / "tiny.yaml").write_text(YAML)
    words = [
        "--config-dir=config",
        "--config-name=tiny",
        f"task.data={folder}/data",
        f"checkpoint.save_dir={folder}/by_hydra",
    ]
    command("hydra_train", *words, cwd=folder)


def reading(path: Path) -> dict:
    """What fairseq makes of one of the files."""
    import torch

    from fairseq import checkpoint_utils

    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(path)], arg_overrides={"data": str(OUT / "data")}
    )
    model.eval()
    logits, _ = model(torch.tensor(BATCH), features_only=True, classification_head_name="sentence_classification_head")
    return {
        "logits": logits.tolist(),
        "weights": {key: [list(value.shape), value.double().sum().item()] for key, value in state["model"].items()},
        "optimizer_history": state["optimizer_history"],
        "train_iterator": state["extra_state"]["train_iterator"],
        "best": state["extra_state"]["best"],
    }


def saving() -> list:
    sys.path.insert(0, str(TESTS / "checkpoint"))
    import saving_scenarios

    from fairseq import checkpoint_utils

    found = []
    for scenario in saving_scenarios.SCENARIOS:
        vars(checkpoint_utils.save_checkpoint).pop("best", None)
        with tempfile.TemporaryDirectory() as folder:
            found.append(saving_scenarios.summary(saving_scenarios.run(scenario, folder)))
    return found


def main() -> None:
    """Train both models and write everything."""
    (OUT / "data").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        train(folder)
        for kind in ("argparse", "hydra"):
            shutil.copyfile(folder / f"by_{kind}" / "checkpoint_last.pt", OUT / f"{kind}.pt")
        for part in ("input0", "label"):
            (OUT / "data" / part).mkdir(exist_ok=True)
            shutil.copyfile(folder / "data" / part / "dict.txt", OUT / "data" / part / "dict.txt")
    expected = {"batch": BATCH, **{kind: reading(OUT / f"{kind}.pt") for kind in ("argparse", "hydra")}}
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    (OUT / "saving.json").write_text(json.dumps(saving(), indent=0) + "\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(OUT.iterdir()) if file.is_file()))


if __name__ == "__main__":
    main()
