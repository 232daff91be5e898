"""`restore`: what passes have added to a model, from the state dict of one, so that the state loads with `strict=True`.

>>> import torch
>>> from fairseq.graph import masks
>>> def build():
...     return nn.Sequential(nn.Linear(3, 1))
>>> pruned = build()
>>> masks.attach(pruned, pruned[0], "weight", torch.tensor([[True, False, True]]))
>>> restore(build(), pruned.state_dict()).load_state_dict(pruned.state_dict())
<All keys matched successfully>
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from fairseq.graph import adapters, input_pruning, masks


def restore(model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
    """Give `model` the masks and adapters of a saved state, and what prunes its inputs, in place; itself.

    Raises:
        ConfigError: one of a weight or layer that the model does not have, or that has another shape.
    """
    masks.restore(model, state)
    adapters.restore(model, state)
    input_pruning.restore(model, state)
    return model
