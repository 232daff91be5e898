"""`LightOptimizer`: torch.optim.Optimizer whose construction, saving and loading do not import torch's compiler.

torch marks these methods as not to be compiled, and the mark imports `torch._dynamo` when one is first called: more
than a second before the first update, which is wasted unless an optimizer is compiled. The unmarked functions do the
same work.
"""

from typing import Any

import torch


def _unmarked(name: str) -> Any:
    method = getattr(torch.optim.Optimizer, name)
    return getattr(method, "__wrapped__", method)


class LightOptimizer(torch.optim.Optimizer):
    """Base of fairseq's own optimizers."""

    add_param_group = _unmarked("add_param_group")
    load_state_dict = _unmarked("load_state_dict")
    state_dict = _unmarked("state_dict")
    zero_grad = _unmarked("zero_grad")
