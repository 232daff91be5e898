"""Parts of a checkpoint that a run cannot take over: one line with the part and what to do, and nothing is trained."""

import pytest
import torch


def spoil(path, part, value):
    state = torch.load(path, weights_only=False)
    *way, last = part.split(".")
    inner = state
    for key in way:
        inner = inner[int(key) if key.lstrip("-").isdigit() else key]
    inner[last] = value
    torch.save(state, path)


@pytest.mark.parametrize(
    ("part", "value", "message", "advice"),
    [
        ("last_optimizer_state", {"x": 1}, "last_optimizer_state cannot be used", "reset_optimizer"),
        ("last_optimizer_state.param_groups", 3, "last_optimizer_state cannot be used", "reset_optimizer"),
        ("last_optimizer_state.state", [], "last_optimizer_state cannot be used", "reset_optimizer"),
        ("extra_state.metrics", {"train": 3}, "extra_state cannot be used", "reset_meters"),
        ("extra_state.early_stopping", {"x": 1}, "extra_state cannot be used", "reset_meters"),
        ("criterion", {"x": torch.zeros(1)}, "criterion cannot be used", "another copy"),
    ],
)
def test_one_line_with_the_part(part, value, message, advice, runs):
    runs.trained("run", "--max-epoch", "1")
    path = runs.folder / "run" / "checkpoint_last.pt"
    spoil(path, part, value)
    before = path.read_bytes()
    result = runs.train("run")
    (line,) = result.err.strip().splitlines()
    assert result.code == 1 and line.startswith(f"error: checkpoint {path}: its {message}") and advice in line
    assert path.read_bytes() == before
