"""`lr_scheduler=pass_through`: hands every call to the schedule that the optimizer itself owns."""

from typing import Any

from fairseq.dataclass.lr_schedulers import PassThroughConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler

PassThroughScheduleConfig = PassThroughConfig  # fairseq's name


@register_lr_scheduler("pass_through", dataclass=PassThroughConfig)
class PassThroughScheduleSchedule(FairseqLRScheduler):
    """Delegates to `optimizer.lr_scheduler`."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.schedule: Any = getattr(optimizer, "lr_scheduler", None)
        if self.schedule is None:
            raise ConfigError(
                f"lr_scheduler=pass_through needs an optimizer with a schedule; {type(optimizer).__name__} has none"
            )

    def state_dict(self) -> dict[str, Any]:
        return self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state_dict)

    def step_begin_epoch(self, epoch: int) -> Any:
        return self.schedule.step_begin_epoch(epoch)

    def step_update(self, num_updates: int) -> float:
        return self.schedule.step_update(num_updates)
