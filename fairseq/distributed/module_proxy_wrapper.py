"""A wrapped model (in DistributedDataParallel, say) that shows what the model inside has.

ModuleProxyWrapper(DistributedDataParallel(model)).encoder      # model.encoder
"""

from typing import Any

from torch import nn


class ModuleProxyWrapper(nn.Module):
    """Calls go to `module`; attributes that it lacks, and the state dict, are those of `module.module`."""

    def __init__(self, module: nn.Module):
        super().__init__()
        assert hasattr(module, "module"), "ModuleProxyWrapper expects a module that wraps another one"
        self.module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            pass
        try:
            return getattr(self.module, name)
        except AttributeError:
            return getattr(self.module.module, name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.module.state_dict(*args, **kwargs)  # type: ignore[operator, union-attr]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.module.load_state_dict(*args, **kwargs)  # type: ignore[operator, union-attr]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)
