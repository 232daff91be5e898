"""Dropout that can be kept on at inference time, for named modules or everywhere.

    y = x * mask / (1 - p),  mask ~ Bernoulli(1 - p)

>>> import torch
>>> FairseqDropout(0.5).eval()(torch.ones(2))
tensor([1., 1.])
"""

import logging
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.modules.dropout import dropout

logger = logging.getLogger(__name__)


class FairseqDropout(nn.Module):
    """Dropout with probability `p`; `module_name` is the class that owns it, for `retain_dropout_modules`."""

    def __init__(self, p: float, module_name: Optional[str] = None):
        super().__init__()
        self.p = p
        self.module_name = module_name
        self.apply_during_inference = False

    @property
    def is_active(self) -> bool:
        """Whether `forward` drops anything."""
        return self.p > 0 and (self.training or self.apply_during_inference)

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        if self.is_active:
            return dropout(x, self.p, inplace)
        return x

    def make_generation_fast_(
        self,
        name: str,
        retain_dropout: bool = False,
        retain_dropout_modules: Optional[list[str]] = None,
        **kwargs: Any,
    ) -> None:
        """Called before inference: stay active if dropout is retained, for this owner or for all."""
        if not retain_dropout:
            return
        if retain_dropout_modules is not None and self.module_name is None:
            logger.warning("dropout in %s stays off: it has no module_name to match retain_dropout_modules", name)
        elif retain_dropout_modules is None or self.module_name in retain_dropout_modules:
            logger.info("dropout stays on during inference: %s", name)
            self.apply_during_inference = True

    def extra_repr(self) -> str:
        return f"p={self.p}"
