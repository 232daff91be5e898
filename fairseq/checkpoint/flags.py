"""A run's config as the flags of a command line, for models that fairseq 0.12 can only load so.

Its BART asks for `args.task`, which it finds in a namespace of all flags, not in the config of the model. A checkpoint
of such a model has the namespace beside its `cfg`; fairseq 0.12 reads `args` first, ours `cfg`.

>>> cfg = {"common": {"seed": 3}, "model": {"_name": "bart_base", "dropout": 0.1}, "task": {"_name": "denoising"}}
>>> found = flags_of(cfg)
>>> found.arch, found.task, found.seed, found.dropout
('bart_base', 'denoising', 3, 0.1)
>>> flags_of({"model": {"_name": "roberta"}}) is None
True
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Optional

from fairseq.dataclass import catalog

_NAMED = ("task", "criterion", "optimizer", "lr_scheduler", "scoring", "bpe", "tokenizer")
_OURS = ("quantization",)  # nested, and unknown there


def flags_of(cfg: Mapping[str, Any]) -> Optional[Namespace]:
    """The flags of a run, from its config in plain dicts; None for models that need none."""
    model = cfg.get("model")
    name = model.get("_name") if isinstance(model, Mapping) else None
    if catalog.modules("model").get(str(name)) != "fairseq.models.bart":
        return None
    values: dict[str, Any] = {}
    for group in sorted(cfg, key=lambda key: key == "model"):  # the model's own settings win
        if isinstance(cfg[group], Mapping) and group not in _OURS:
            values.update({key: value for key, value in cfg[group].items() if key != "_name"})
    for slot in _NAMED:
        values[slot] = cfg[slot].get("_name") if isinstance(cfg.get(slot), Mapping) else None
    return Namespace(**values, arch=name)
