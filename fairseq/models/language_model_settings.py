"""What older models read from their namespaces beside their own settings: limits of the task, and the criterion.

>>> from argparse import Namespace
>>> args = Namespace(criterion="adaptive_loss", adaptive_softmax_cutoff="10,20", tokens_per_sample=32)
>>> softmax_cutoff(args), longest_input(args)
([10, 20], 32)
"""

from typing import Any, Optional

from fairseq.dataclass.utils import eval_str_list
from fairseq.models.config import has


def given(args: Any, name: str) -> Any:
    """What `args` says, None where it says nothing."""
    return getattr(args, name) if has(args, name) else None


def softmax_cutoff(args: Any) -> Optional[list[int]]:
    """Where the clusters of an adaptive softmax end; None unless the criterion is one for it."""
    if given(args, "criterion") != "adaptive_loss" or not args.adaptive_softmax_cutoff:
        return None
    return [int(end) for end in eval_str_list(args.adaptive_softmax_cutoff, int) or []]


def longest_input(args: Any, default: int = 1024) -> int:
    """The longest input of a language model in tokens."""
    for name in ("max_target_positions", "tokens_per_sample"):
        if given(args, name) is not None:
            return int(getattr(args, name))
    return default
