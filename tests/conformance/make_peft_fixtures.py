"""Writes tests/fixtures/peft_lora.json with peft's LoRA: one small model with an adapter on every kind of layer.

    python -m tests.conformance.make_peft_fixtures          needs peft (0.21.2 wrote the file)

Base weights, adapters as after training, outputs, five steps of SGD on the adapters, and the fused weights.
"""

import json
from pathlib import Path

import peft
import torch
from torch import nn

from tests.graph.test_lora import Mixed

OUT = Path(__file__).parents[1] / "fixtures" / "peft_lora.json"
LAYERS, TABLES = ("fc", "conv", "head"), ("embed",)


def factors(model: nn.Module, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of one layer, B without axes of size 1."""
    layer = model.get_submodule(name)
    if name in TABLES:
        return layer.lora_embedding_A["default"], layer.lora_embedding_B["default"]
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


def main() -> None:
    torch.manual_seed(0)
    base = Mixed()
    config = peft.LoraConfig(r=4, lora_alpha=6, lora_dropout=0.0, target_modules=[*LAYERS, *TABLES])
    found = {"peft": peft.__version__, "torch": torch.__version__}
    found["base"] = {key: value.tolist() for key, value in base.state_dict().items()}
    model = peft.get_peft_model(base, config)
    inner = model.base_model.model
    names = [name for name, _ in base.named_children()]
    found["sizes"] = {name: sum(value.numel() for value in factors(inner, name)) for name in names}
    with torch.no_grad():
        for name in names:
            for value in factors(inner, name):
                value.normal_(std=0.2)
    found["adapters"] = {
        name: {"A": a.tolist(), "B": b.reshape(len(b), -1).tolist()}
        for name in names
        for a, b in (factors(inner, name),)
    }
    tokens = torch.randint(0, 10, (3, 7))
    found["tokens"], found["output"] = tokens.tolist(), model(tokens).tolist()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    found["losses"] = []
    for _ in range(5):
        loss = model(tokens).square().mean()
        found["losses"].append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found["trained_output"] = model(tokens).tolist()
    found["fused"] = {key: value.tolist() for key, value in model.merge_and_unload().state_dict().items()}
    one = peft.get_peft_model(nn.Sequential(nn.Linear(400, 30)), peft.LoraConfig(r=16, target_modules=["0"]))
    found["largest_of_400"] = one.base_model.model[0].lora_A["default"].weight.abs().max().item()
    OUT.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
