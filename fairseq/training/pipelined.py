"""Updates and validation of a model whose layers are spread over processes (`distributed/pipeline`).

    pipelined = Pipelined.of(cfg, model, criterion, task, device)
    gradients = PipelineGradients(pipelined=pipelined, task=task, ...)

Tasks, criterions and models are those of any run: the last stage calls the criterion, the others the same call as far
as their layers. Logging outputs come from the last stage; every process of a pipeline gets them.
"""

import logging
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.distributed import utils as distributed_utils
from fairseq.distributed.pipeline.engine import Pipeline
from fairseq.distributed.pipeline.ownership import Ownership
from fairseq.distributed.pipeline.report import report
from fairseq.distributed.pipeline.settings import PipelineSettings
from fairseq.errors import ConfigError
from fairseq.quantization.bits import bits_for
from fairseq.training import statistics
from fairseq.training.gradients import UpdateGradients
from fairseq.training.precision import Precision

logger = logging.getLogger("fairseq.trainer")


class Pipelined:
    """A pipeline, and who trains what in it."""

    def __init__(self, pipeline: Pipeline, ownership: Ownership):
        self.pipeline, self.ownership = pipeline, ownership

    @property
    def own(self) -> list[nn.Parameter]:
        """Parameters that this process trains."""
        return self.ownership.own

    @classmethod
    def of(cls, cfg: Any, model: nn.Module, criterion: nn.Module, task: Any, device: torch.device) -> "Pipelined":
        """As the config asks for it.

        Raises:
            ConfigError: a setting that a pipeline cannot follow.
        """
        _check(cfg, model)
        settings = PipelineSettings.of(cfg.distributed_training)
        if not distributed_utils.is_initialized():
            raise ConfigError(
                f"pipeline_model_parallel: {len(settings.balance)} stages need as many processes; set "
                "distributed_world_size, or start the command with torchrun"
            )
        _check_same(settings)
        pipeline = Pipeline(model, criterion, settings, device, task.source_dictionary.pad(), cfg.common.seed)
        codecs = [each.spec if each is not None else "fp32" for each in (settings.forward, settings.backward)]
        logger.info(
            f"pipeline: {len(settings.balance)} stages of {list(settings.balance)} layers in {pipeline.num_ranks} "
            f"processes, {pipeline.num_replicas} copies, {settings.chunks} micro-batches, "
            f"schedule {settings.schedule}, activations {codecs[0]}, gradients {codecs[1]}"
        )
        return cls(pipeline, Ownership(pipeline, model, criterion))

    def report(self, folder: str) -> None:
        """Log what crossed the boundaries, and write it to a file in `folder`; every process calls it."""
        lines, path = report(self.pipeline, folder)
        logger.info(f"pipeline, written to {path}\n{lines}")

    def evaluate(self, sample: Any, task: Any, model: nn.Module, criterion: nn.Module, precision: Precision) -> Any:
        """Summed sample size and the logging outputs of a validation batch."""

        def run(part: Any, chunk: int) -> Any:
            with precision.autocast():
                loss, sample_size, logging_output = task.valid_step(part, model, criterion)
            return torch.as_tensor(loss), (_number(sample_size), _detached(logging_output))

        said = self.pipeline.evaluate(sample, run)
        return sum(size for size, _ in said), [output for _, output in said]


class PipelineGradients(UpdateGradients):
    """`UpdateGradients` by a pipeline."""

    def __init__(self, *, pipelined: Pipelined, **kwargs: Any):
        super().__init__(**kwargs)
        self.pipelined = pipelined

    def compute(self, samples: list[Any], num_updates: int, optimizer: Any) -> tuple[list[dict[str, Any]], Any, Tensor]:
        logging_outputs, sample_size = self.forward_backward(samples, num_updates, optimizer)
        logging_outputs, sample_size = statistics.aggregate(
            logging_outputs,
            sample_size,
            statistics.can_be_summed(self.task, self.criterion),
            self.batches.device,
            self.pipelined.pipeline.replicas,
        )
        return logging_outputs, sample_size, self._reduce(sample_size, num_updates, optimizer)

    def _micro_batches(
        self, samples: list[Any], num_updates: int, optimizer: Any, num_bits: Optional[int]
    ) -> tuple[list[dict[str, Any]], Any]:
        logging_outputs: list[dict[str, Any]] = []
        total: Any = 0
        bits = bits_for(self.task, num_bits, "train_step")
        pipeline = self.pipelined.pipeline
        for index, sample in enumerate(samples):
            sample, is_dummy = self.batches.prepare(sample)

            def run(part: Any, chunk: int, index: int = index, is_dummy: bool = is_dummy) -> Any:
                if self.quantized_training is not None:
                    number = index * pipeline.settings.chunks + chunk
                    self.quantized_training.begin_micro_batch(num_updates, number, is_dummy)
                loss = _Loss(optimizer)
                with self.precision.autocast():
                    _, sample_size, logging_output = self.task.train_step(
                        sample=part,
                        model=self.model,
                        criterion=self.criterion,
                        optimizer=loss,
                        update_num=num_updates,
                        ignore_grad=is_dummy,
                        **bits,
                    )
                return loss.value, (_number(sample_size), _detached(logging_output))

            for sample_size, logging_output in pipeline.train(sample, num_updates, run, index):
                logging_outputs += statistics.contribution(self.task, self.criterion, logging_output, is_dummy)
                total = total if is_dummy else total + sample_size
        return logging_outputs, total

    def _reduce(self, sample_size: Any, num_updates: int, optimizer: Any) -> Tensor:
        ownership = self.pipelined.ownership
        ownership.exchange_gradients()
        optimizer.multiply_grads(self.pipelined.pipeline.num_replicas / (float(sample_size) or 1.0))
        norm = ownership.grad_norm()
        if self.clip_norm > 0:
            optimizer.multiply_grads(min(1.0, self.clip_norm / (float(norm) + 1e-6)))
        return norm


class _Loss:
    """An optimizer whose backward waits for the schedule."""

    def __init__(self, optimizer: Any):
        self._optimizer = optimizer
        self.value: Any = None

    def backward(self, loss: Tensor) -> None:
        self.value = loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def _number(sample_size: Any) -> Any:
    return sample_size.item() if isinstance(sample_size, Tensor) else sample_size


def _detached(logging_output: dict[str, Any]) -> dict[str, Any]:
    return {key: value.detach().cpu() if isinstance(value, Tensor) else value for key, value in logging_output.items()}


def _check(cfg: Any, model: nn.Module) -> None:
    """ConfigError for what goes on between layers, or with a whole model, that no stage has."""
    dropped = any(
        float(getattr(module, "p", 0)) > 0 for module in model.modules() if "LayerDrop" in type(module).__name__
    )
    refused = {
        "common.fp16": cfg.common.fp16 or cfg.common.amp,
        "common.compile": cfg.common.compile,
        "ema.store_ema": cfg.ema.store_ema,
        "layerdrop": dropped,
        "model.checkpoint_activations": bool(cfg.model and cfg.model.get("checkpoint_activations", False)),
        "task.eval_bleu": bool(cfg.task and cfg.task.get("eval_bleu", False)),
        "optimizer=composite": cfg.optimizer is not None and cfg.optimizer.get("_name") == "composite",
    }
    for name, is_set in refused.items():
        if is_set:
            raise ConfigError(f"{name} cannot be used with distributed_training.pipeline_model_parallel; leave it out")


def _check_same(settings: PipelineSettings) -> None:
    """ConfigError where processes were started with different settings: their messages would not fit."""
    own = [
        ",".join(map(str, settings.balance)),
        str(settings.chunks),
        settings.schedule,
        *(each.spec if each is not None else "none" for each in (settings.forward, settings.backward)),
    ]
    names = ("pipeline_balance", "pipeline_chunks", "pp_schedule", "pp_codec_fwd", "pp_codec_bwd")
    for rank, other in enumerate(distributed_utils.all_gather_list(own)):
        for name, mine, theirs in zip(names, own, other, strict=True):
            if mine != theirs:
                raise ConfigError(
                    f"distributed_training.{name} is {theirs} in rank {rank} and {mine} in rank "
                    f"{distributed_utils.get_rank()}; start all processes with the same settings"
                )
