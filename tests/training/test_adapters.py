"""Models with adapters and masks are trained, resumed, validated and loaded by the ordinary commands."""

import torch

from fairseq.graph import fuse_lora, insert_lora, prune
from fairseq.graph.adapters import named_adapters
from fairseq.graph.masks import broken_masks, named_masks
from fairseq.loading import load_model_ensemble

INPUTS = {"src_tokens": torch.tensor([[4, 5, 6], [6, 5, 4]])}


def changed(runs, name: str, **passes):
    """A checkpoint of `name` whose model went through passes."""
    state = runs.checkpoint(name)
    models, _ = load_model_ensemble([str(runs.folder / name / "checkpoint_last.pt")])
    for run_pass, options in passes.values():
        run_pass(models[0], inputs=INPUTS, **options)
    state["model"] = models[0].state_dict()
    path = runs.folder / f"{name}_changed.pt"
    torch.save(state, path)
    return path, state["model"]


def loaded(runs, name: str):
    return load_model_ensemble([str(runs.folder / name / "checkpoint_last.pt")])[0][0]


def test_only_adapters_train_and_runs_continue(runs) -> None:
    runs.trained("base", "--max-update", "1")
    options = {"rank": 2, "trainable": ["classification_heads.*"]}
    path, before = changed(runs, "base", lora=(insert_lora, options))
    start = ["--finetune-from-model", path]
    runs.trained("whole", *start, "--max-update", "4")
    runs.trained("part", *start, "--max-update", "2")
    runs.trained("part", *start, "--max-update", "4")
    runs.assert_same_run("whole", "part")
    after = runs.checkpoint("whole")["model"]
    assert list(after) == list(before)
    different = {key for key in after if not torch.equal(after[key], before[key])}
    assert different and all(".lora." in key or key.startswith("classification_heads") for key in different)
    assert all(key in different for key in after if key.endswith("lora.B") and "lm_head" not in key)
    model = loaded(runs, "whole").eval()
    assert len(list(named_adapters(model))) == sum(key.endswith("lora.A") for key in after)
    with torch.no_grad():
        expected = model(**INPUTS, features_only=True, classification_head_name="sentence_classification_head")[0]
        fuse_lora(model, inputs=INPUTS)
        found = model(**INPUTS, features_only=True, classification_head_name="sentence_classification_head")[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_masks_hold_through_training(runs) -> None:
    runs.trained("base", "--max-update", "1")
    path, before = changed(runs, "base", prune=(prune, {"sparsity": 0.5}))
    runs.trained("pruned", "--finetune-from-model", path, "--max-update", "3")
    model = loaded(runs, "pruned")
    masks = named_masks(model)
    assert masks and not broken_masks(model)
    assert all(torch.equal(mask, before[f"{key}_mask"]) for key, mask in masks.items())
    assert not all(torch.equal(model.state_dict()[key], before[key]) for key in masks)
