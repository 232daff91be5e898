from dataclasses import dataclass, field
from typing import List

from omegaconf import II

from fairseq.dataclass import FairseqDataclass
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler


@dataclass
class ZigzagConfig(FairseqDataclass):
    period: int = field(default=10, metadata={"help": "updates from one peak to the next"})
    lr: List[float] = II("optimization.lr")


@register_lr_scheduler("zigzag", dataclass=ZigzagConfig)
class Zigzag(FairseqLRScheduler):
    def __init__(self, cfg, optimizer):
        super().__init__(cfg, optimizer)
        self.optimizer.set_lr(cfg.lr[0])

    def step_update(self, num_updates):
        share = num_updates % self.cfg.period / self.cfg.period
        self.optimizer.set_lr(self.cfg.lr[0] * (1 - 0.9 * share))
        return self.optimizer.get_lr()
