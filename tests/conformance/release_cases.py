"""Runs whose files a later build must read, resume and evaluate to the same numbers, and what is asked of each file.

Used by make_release_fixtures.py, which writes the files once per release, and by tests/training/test_older_files.py,
which reads them with the code as it is.

    case = CASES["cpt_4_8"]
    case.words(data, save_dir)                    # fairseq-train, UPDATES updates, a checkpoint at SPLIT
    case.words(data, save_dir, restored=file)     # the same command, going on from that checkpoint
    outcome(save_dir)                             # what the updates after SPLIT printed, and the weights they led to
    evaluated(file, data, compute="simulate")     # {"loss": ..., "correct": ..., "logits": [[...], ...]}

SPLIT lies inside the second epoch (7 batches an epoch) and inside the second of three precision cycles.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

UPDATES, SPLIT = 18, 10
CHECKPOINT = f"checkpoint_2_{SPLIT}.pt"
WORDS = [f"w{number}" for number in range(12)]
HEAD = "sentence_classification_head"
FLAGS = f"""
    --task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token 0 --separator-token 2
    --arch roberta_base --encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 24
    --encoder-attention-heads 2 --max-positions 16 --dropout 0.1 --attention-dropout 0.1 --shorten-method truncate
    --optimizer adam --adam-betas (0.9,0.98) --weight-decay 0.1 --clip-norm 1.0 --lr 0.003
    --lr-scheduler polynomial_decay --warmup-updates 4 --total-num-update {UPDATES} --max-update {UPDATES} --seed 3
    --batch-size 4 --required-batch-size-multiple 1 --num-workers 0 --cpu
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric
    --no-epoch-checkpoints --save-interval-updates {SPLIT} --log-format json --log-interval 1
""".split()

LEARNED = [
    {"match": "*.fc1.weight", "learned": "scale", "bits": 4},
    {"match": "*.fc2.weight", "learned": "clip"},
    {"match": "*.fc1.input", "learned": "scale", "format": "affine_int"},  # LSQ+: a learned zero point, too
    {"match": "*.fc2.input", "learned": "clip", "ste": "clipped"},
    {"match": "*.self_attn.query", "learned": "scale", "format": "symmetric"},
    {"match": "*.self_attn.out_proj.weight", "learned": "scale", "bits": 4, "granularity": "tensor"},
    {
        "match": "*.q_proj.weight",
        "format": "affine_float_zp",
        "granularity": "group:6",
    },  # no integer products
    {"match": "*.k_proj.weight", "format": "affine_int", "granularity": "group:6"},
]
FORMATS = [  # what is affine_float_zp here was called affine when tests/fixtures/release was written
    {"match": "*.fc1.weight", "format": "affine_float_zp"},
    {"match": "*.fc1.input", "format": "affine_float_zp", "range": {"name": "running", "momentum": 0.8}},
    {"match": "*.fc1.grad_output", "format": "affine_float_zp"},
    {"match": "*.fc2.weight", "format": "affine_int"},
    {"match": "*.fc2.input", "format": "affine_int", "range": {"name": "ema", "momentum": 0.5}},
    {"match": "*.fc2.grad_output", "format": "affine_int"},
    {"match": "*.q_proj.weight", "format": "affine_float_zp", "range": "mse"},
    {"match": "*.layers.1.*.v_proj.weight", "bits": 12},
    {"match": "*.layers.0.*.v_proj.weight", "format": "affine_float_zp", "bits": 2, "range": {"name": "percentile"}},
    {"match": "*.self_attn.key", "format": "affine_float_zp", "range": "running"},
    {"match": "*embed_positions*", "format": "affine_float_zp", "bits": 4, "granularity": "token"},
]


@dataclass(frozen=True)
class Case:
    """One run: the flags that it adds, and what is asked of its files.

    Attributes:
        packed: whether fairseq-quantize-checkpoint packs it.
        computes: how it is evaluated.
    """

    flags: tuple[str, ...] = ()
    packed: bool = False
    computes: tuple[str, ...] = ("simulate",)

    def words(self, data: Path, save_dir: Path, restored: Path | None = None) -> list[str]:
        """Arguments of fairseq-train."""
        going_on = ["--restore-file", str(restored)] if restored else []
        return [str(data), *FLAGS, *self.flags, "--save-dir", str(save_dir), *going_on]


def _quantized(preset: str, *flags: str, rules: Any = ()) -> tuple[str, ...]:
    return ("--quantization", preset, *flags, *(("--quantization-rules", json.dumps(rules)) if rules else ()))


BOTH = ("simulate", "integer")
CASES = {
    "float": Case(),
    "cpt_4_8": Case(_quantized("cpt_4_8", "--precision-cycles", "3"), packed=True, computes=BOTH),
    "int8_integer": Case(_quantized("int8", "--quantization-compute", "integer"), packed=True, computes=BOTH),
    "learned": Case(_quantized("int8", rules=LEARNED), packed=True),
    "formats": Case(_quantized("int8", rules=FORMATS), packed=True, computes=BOTH),
}


def outcome(save_dir: Path) -> dict[str, Any]:
    """What a run did after update SPLIT.

    `updates` holds loss, norm of the gradient and bits of each update as its history has them (three digits); `weights`
    the sum of the magnitudes of each weight at the end, unrounded.
    """
    from fairseq.logging.history import read_history

    inner = [record for record in read_history(save_dir) if record["tag"] == "train_inner"]
    updates = {
        str(record["num_updates"]): [record["loss"], record["gnorm"], record.get("num_bits", 0)]
        for record in inner
        if record["num_updates"] > SPLIT
    }
    weights = torch.load(save_dir / "checkpoint_last.pt", weights_only=False)["model"]
    return {"updates": updates, "weights": {key: float(value.double().abs().sum()) for key, value in weights.items()}}


def evaluated(path: Path, data: Path, compute: str) -> dict[str, Any]:
    """Unrounded scores of the validation set and the logits of each of its examples (one batch), as Python floats."""
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    overrides = {"data": str(data)} if compute == "simulate" else {"data": str(data), "compute": compute}
    models, cfg, task = load_model_ensemble_and_task([str(path)], overrides)
    model = models[0].eval()
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    sample = dataset.collater([dataset[index] for index in range(len(dataset))])
    with torch.no_grad():
        logits = model(**sample["net_input"], features_only=True, classification_head_name=HEAD)[0]
        loss, size, logged = task.valid_step(sample, model, task.build_criterion(cfg.criterion))
    return {"loss": float(loss) / size, "correct": int(logged["ncorrect"]), "logits": logits.tolist()}


def arithmetic() -> list[float]:
    """What this machine's torch makes of fixed numbers, in the operations that a tiny model needs.

    Products, exponentials and sums of floating-point numbers differ in their last bits between processors and builds of
    torch. Where these numbers are the ones that were stored, results must be the stored ones bit for bit.
    """
    draw = random.Random(0)
    x, y = (torch.tensor([[draw.gauss(0, 1) for _ in range(24)] for _ in range(44)]) for _ in range(2))
    found = [x @ y.T, torch.nn.functional.layer_norm(x, (24,)), x.softmax(-1), torch.nn.functional.gelu(x), x.tanh()]
    found += [x.T @ y, x.log_softmax(-1), x.norm(), (x * x).sum(0), x.exp() / (y * y).sqrt()]
    return [value for part in found for value in (part.double().sum().item(), part.flatten()[7:8].sum().item())]


# -- data --------------------------------------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Pairs of short sentences of made-up words; label `yes` where the second one ends as the first one begins."""
    from fairseq.data import Dictionary, indexed_dataset

    words, labels, draw = Dictionary(), Dictionary(), random.Random(1)
    for word in WORDS:
        words.add_symbol(word)
    for label in ("no", "yes"):
        labels.add_symbol(label)
    for split, size in (("train", 26), ("valid", 11)):
        columns: dict[str, list[str]] = {"input0": [], "input1": [], "label": []}
        for index in range(size):
            first, second = (draw.choices(WORDS, k=draw.randint(2, 5)) for _ in range(2))
            columns["input0"].append(" ".join(first))
            columns["input1"].append(" ".join(second + first[:1] if index % 2 else second))
            columns["label"].append(("no", "yes")[index % 2])
        for name, lines in columns.items():
            vocabulary = labels if name == "label" else words
            (folder / name).mkdir(parents=True, exist_ok=True)
            vocabulary.save(str(folder / name / "dict.txt"))
            builder = indexed_dataset.make_builder(f"{folder / name / split}.bin", "mmap", len(vocabulary))
            for line in lines:
                ids = vocabulary.encode_line(line, add_if_not_exist=False, append_eos=name != "label")
                builder.add_item(ids.int())
            builder.finalize(f"{folder / name / split}.idx")
