"""Passes again, on a new model: what a saved state needs before it can be loaded.

    model = replay(model, [{"pass": "remove", "options": {"pattern": "dropout"}}], ["input:float32[8,16]"])
    model = prepare(model, checkpoint)          # a checkpoint of ours says the same of itself, as data

The same passes with the same options make the same modules; the state then fills them. A checkpoint of ours holds them
under `transforms`; quantizers are in its config, as in every checkpoint, masks and adapters in its weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from fairseq.checkpoint.layout import ODD
from fairseq.errors import CheckpointError, ConfigError, FairseqError, reason
from fairseq.graph.adapters import named_adapters
from fairseq.graph.inputs import HEAD, LEAVES, make_inputs
from fairseq.graph.passes.registry import PASSES, run_pass
from fairseq.graph.tracing import trace
from fairseq.quantization.plan.settings import QuantizationConfig

KEY = "transforms"  # of a checkpoint
DONE = "transforms_of_checkpoint"  # what stood there: an attribute of the model that was made from one
# what a checkpoint's config, or its weights, say themselves
QUANTIZE = "quantize"
IN_THE_STATE = (QUANTIZE, "prune", "prune_activations", "lora", "fuse_lora")
FUSE_LORA = "fuse_lora"
Steps = Sequence[Mapping[str, Any]]


def replay(model: nn.Module, steps: Steps, inputs: Sequence[str] = (), leaves: Sequence[str] = ()) -> nn.Module:
    """`model` after the passes, each `{"pass": NAME, "options": {...}}`; weights are then to be loaded.

    Raises:
        ConfigError: a pass that does not exist here, or that cannot be done on this model.
    """
    if not steps:
        return model
    with torch.random.fork_rng():
        graph = trace(model, make_inputs(model, inputs), leaves, check=False)
        for step in steps:
            if step["pass"] == FUSE_LORA and not any(True for _ in named_adapters(graph.model)):
                continue  # the adapters came with weights that were loaded before the passes
            try:
                graph, _ = run_pass(graph, step["pass"], step["options"])
            except FairseqError:
                raise
            except ODD as error:  # an option of another kind than the pass expects
                raise ConfigError(f"pass {step['pass']}: {type(error).__name__}: {reason(error)}") from error
    return graph.model


def structure(steps: Steps) -> list[Mapping[str, Any]]:
    """The passes that have to be repeated, before the rest is made from weights and plan.

    >>> [step["pass"] for step in structure([{"pass": "remove"}, {"pass": "prune"}, {"pass": "quantize"}])]
    ['remove']
    """
    return [step for step in steps if step["pass"] not in IN_THE_STATE]


def is_in_order(steps: Steps) -> bool:
    """Whether no module is replaced after it was quantized: then quantizers can be made at the end."""
    names = [str(step["pass"]) for step in steps]
    return QUANTIZE not in names or not structure(steps[names.index(QUANTIZE) :])


def prepare(model: Any, state: Mapping[str, Any], filename: str) -> Any:
    """`model`, just built from a checkpoint's config, with the modules that its weights belong to.

    Masks and adapters are made when the weights are loaded (`fairseq.graph.restoring`), quantizers by the config.

    Args:
        state: the checkpoint's contents, also without the tensors' data.
        filename: for messages.

    Raises:
        CheckpointError: transforms that are damaged, unknown here, or not for this model.
    """
    found = state.get(KEY)
    if found is not None:
        steps, inputs, leaves = check_transforms(found, filename)
        setattr(model, HEAD, found.get("head"))  # files from before heads were traced do not say
        try:
            changed = replay(model.eval(), structure(steps), inputs, leaves).train()
        except FairseqError as error:
            raise CheckpointError(f"checkpoint {filename}: its transforms cannot be repeated: {error}") from None
        if changed is not model:
            raise CheckpointError(f"checkpoint {filename}: its transforms replace the model itself; use its run folder")
        setattr(model, DONE, found)
        setattr(model, LEAVES, tuple(leaves))
    return model


def check_transforms(found: Any, filename: str) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Passes, inputs and leaves from what a file holds.

    Raises:
        CheckpointError: it is no list of passes, or one of them does not exist here.
    """
    steps = found.get("passes") if isinstance(found, Mapping) else None
    texts = [found.get(key, []) for key in ("inputs", "leaves")] if isinstance(found, Mapping) else []
    sound = (
        isinstance(steps, list)
        and all(isinstance(s, Mapping) and isinstance(s.get("options"), Mapping) for s in steps)
        and isinstance(found.get("head"), (str, type(None)))
        and all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in texts)
    )
    if not sound:
        raise CheckpointError(f"checkpoint {filename} is damaged: its {KEY} are no list of passes with options")
    try:
        for step in steps or ():
            PASSES.lookup(str(step.get("pass")))
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {filename}: {error}") from None
    inputs, leaves = texts
    return list(steps or ()), list(inputs), list(leaves)


def group_of(config: QuantizationConfig) -> dict[str, Any]:
    """The `quantization` group of a run's config that means `config`."""
    found = {**asdict(config), "schedule": {**asdict(config.schedule), "options": dict(config.schedule.options)}}
    found["rules"] = [
        {"match": rule.match, **rule.settings(), **({"optional": True} if rule.optional else {})}
        for rule in config.rules
    ]
    return found
