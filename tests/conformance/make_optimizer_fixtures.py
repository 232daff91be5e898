"""Writes tests/fixtures/optimizers.json: weights after each of fairseq 0.12's optimizers has made up to 100 updates.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    python tests/conformance/make_optimizer_fixtures.py

The problem uses additions and multiplications only, so that every machine has the same gradients:
weight i of parameter k starts at ((5 i + 3 k) mod 13 - 6) / 8, its gradient at update t is w / 4 + ((7 i + 3 t) mod 11
- 5) / 16, the learning rate halves after every 40 updates. tests/optim/test_optimizers.py does the same with ours.
"""

import json
import sys
import types
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "optimizers.json"
SHAPES = [(3, 4), (5,)]
CHECKPOINTS = (1, 2, 10, 50, 100)

CASES = [
    ("adam", {"adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.1, "lr": [1e-3]}),
    ("adam", {"adam_betas": "(0.9, 0.999)", "adam_eps": 1e-2, "weight_decay": 0.0, "lr": [3e-2]}),
    ("nag", {"momentum": 0.99, "weight_decay": 0.01, "lr": [1e-2]}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.01, "lr": [1e-2]}),
    ("adagrad", {"weight_decay": 0.01, "lr": [1e-2]}),
    ("adadelta", {"adadelta_rho": 0.9, "adadelta_eps": 1e-6, "weight_decay": 0.01, "lr": [1.0]}),
    ("adamax", {"adamax_betas": "(0.9, 0.98)", "adamax_eps": 1e-8, "weight_decay": 0.1, "lr": [1e-2]}),
    (
        "adamax",
        {
            "adamax_betas": "(0.9, 0.98)",
            "adamax_eps": 1e-8,
            "weight_decay": 0.0,
            "lr": [1e-2],
            "no_bias_correction": True,
        },
    ),
    ("adafactor", {"lr": [1e-2]}),
    ("adafactor", {"lr": [1e-2], "beta1": 0.9, "weight_decay": 0.1, "scale_parameter": True, "clip_threshold": 0.5}),
]
DEFAULTS = {
    "adam": {"use_old_adam": True, "fp16_adam_stats": False, "tpu": False},
    "adadelta": {"anneal_eps": False},
    "adamax": {"no_bias_correction": False},
    "adafactor": {
        "adafactor_eps": "(1e-30, 1e-3)",
        "clip_threshold": 1.0,
        "decay_rate": -0.8,
        "beta1": None,
        "weight_decay": 0.0,
        "scale_parameter": False,
        "relative_step": False,
        "warmup_init": False,
    },
}


def make_params() -> list:
    params = []
    for k, shape in enumerate(SHAPES):
        numel = torch.Size(shape).numel()
        params.append(torch.tensor([((5 * i + 3 * k) % 13 - 6) / 8 for i in range(numel)]).view(shape))
    return [torch.nn.Parameter(p) for p in params]


def set_grads(params: list, update: int) -> None:
    for p in params:
        shift = torch.tensor([((7 * i + 3 * update) % 11 - 5) / 16 for i in range(p.numel())]).view(p.shape)
        p.grad = p.data * 0.25 + shift


def plain(value):
    """Tensors as nested lists, mappings with string keys: what JSON holds."""
    if torch.is_tensor(value):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


def run(optimizer, params: list, lr: float) -> dict:
    """Weights at some updates and the optimizer's state at the end."""
    weights = {}
    for update in range(1, CHECKPOINTS[-1] + 1):
        optimizer.set_lr(lr * 0.5 ** (update // 40))
        set_grads(params, update)
        optimizer.step()
        if update in CHECKPOINTS:
            weights[str(update)] = [p.detach().flatten().tolist() for p in params]
    state = optimizer.state_dict()
    groups = [{key: group[key] for key in group if key in OWN_KEYS} for group in state["param_groups"]]
    return {"weights": weights, "state": plain(state["state"]), "param_groups": plain(groups)}


OWN_KEYS = ("lr", "lr_old", "betas", "eps", "weight_decay", "amsgrad", "momentum", "rho", "bias_correction", "params")


def main() -> None:
    """Run every case under fairseq 0.12 and write the file: the fixture, or the one that is named."""
    from fairseq.optim import OPTIMIZER_REGISTRY

    cases = []
    for name, config in CASES:
        values = types.SimpleNamespace(**{**DEFAULTS.get(name, {}), **config})
        params = make_params()
        # fairseq's Adafactor multiplies the learning rate by the scales of all parameters of a group before it
        groups = [{"params": [p]} for p in params] if name == "adafactor" else params
        optimizer = OPTIMIZER_REGISTRY[name](values, groups)
        result = run(optimizer, params, config["lr"][0])
        if name == "adafactor":  # its groups hold the rate of their last parameter
            result["param_groups"] = [{k: v for k, v in group.items() if k != "lr"} for group in result["param_groups"]]
        cases.append({"optimizer": name, "config": config, **result})
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    lines = ",\n".join(json.dumps(case) for case in cases)
    out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(cases)} cases in {out}")


if __name__ == "__main__":
    main()
