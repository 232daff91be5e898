"""How a run is to be spread over processes, as `distributed_training` says it.

>>> settings = PipelineSettings((6, 6), chunks=4)
>>> settings.ranks(world_size=4)                                # two copies of a pipeline of two processes
2
"""

from typing import Any, NamedTuple, Optional

from fairseq.distributed.codecs import Codec, codec
from fairseq.distributed.pipeline import schedules
from fairseq.errors import ConfigError


class PipelineSettings(NamedTuple):
    """How layers, processes and micro-batches are shared.

    Attributes:
        balance: layers of each stage.
        chunks: micro-batches of a batch.
        schedule: one of `schedules.SCHEDULES`.
        forward, backward: codecs of activations and gradients; None sends fp32.
    """

    balance: tuple[int, ...]
    chunks: int
    schedule: str = "1f1b"
    forward: Optional[Codec] = None
    backward: Optional[Codec] = None

    @classmethod
    def of(cls, distributed: Any) -> "PipelineSettings":
        """From the `distributed_training` group; ConfigError where it does not say enough."""
        text = str(distributed.pipeline_balance or "").strip("[] ")
        try:
            balance = tuple(int(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise ConfigError(f"pipeline_balance={text!r}: layers of each stage, such as 6,6") from None
        if not balance:
            raise ConfigError("pipeline_model_parallel: set pipeline_balance, the layers of each stage, such as 6,6")
        codecs = (codec(spec) if spec not in (None, "", "none", "raw") else None
                  for spec in (distributed.pp_codec_fwd, distributed.pp_codec_bwd))  # fmt: skip
        return cls(balance, distributed.pipeline_chunks or len(balance), str(distributed.pp_schedule), *codecs)

    def ranks(self, world_size: int) -> int:
        """Processes of one pipeline; ConfigError where so many in all cannot be shared."""
        stages = len(self.balance)
        single = schedules.SCHEDULES.get(self.schedule, schedules.SCHEDULES["1f1b"]).kind == "single"
        ranks = stages if single else min(world_size, max(1, stages // 2))
        if world_size < ranks or world_size % ranks:
            raise ConfigError(
                f"pipeline_balance of {stages} stages with pp_schedule={self.schedule} needs {ranks} processes, or a "
                f"multiple for data parallelism; distributed_world_size={world_size}"
            )
        schedules.check(self.schedule, stages, ranks, self.chunks)
        return ranks
