"""Gradients of one update: forward and backward over its micro-batches, averaged over its samples, clipped.

    gradients = UpdateGradients(task=task, model=wrapped, criterion=criterion, precision=precision, batches=batches)
    logging_outputs, sample_size, grad_norm = gradients.compute(samples, num_updates, optimizer)

A criterion returns a loss that is *summed* over a batch, and its sample size. Data parallelism averages the gradients
over the processes. The gradient of the mean loss is therefore

    grad = grad_sum * world_size / (sample_size * loss_scale)

where `sample_size` is summed over micro-batches and processes.
"""

import contextlib
from collections.abc import Iterable
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.distributed import utils as distributed_utils
from fairseq.distributed.data_parallel import average_gradients
from fairseq.optim.loss_scale import LossScale
from fairseq.quantization.bits import bits_for
from fairseq.training import statistics
from fairseq.training.batches import DeviceBatches
from fairseq.training.cost import FullPrecisionCost
from fairseq.training.precision import Precision
from fairseq.training.quantized import QuantizedTraining


def trained_parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Parameters that require a gradient, in the order of `modules`, each once."""
    unique = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    return list(unique.values())


class UpdateGradients:
    """Computes the gradients of an update and leaves them in `.grad`.

    Args:
        model: with its data-parallel wrapper, if there are several processes.
        batches: moves micro-batches to the device.
        clip_norm: largest norm of the gradients, 0 for no limit.
        loss_scale: of fp16, None in other precisions.
        quantized_training: None for a model that is not quantized.
        cost: counts what such a model costs, where that is asked for.
    """

    def __init__(
        self,
        *,
        task: Any,
        model: nn.Module,
        criterion: nn.Module,
        precision: Precision,
        batches: DeviceBatches,
        clip_norm: float = 0.0,
        loss_scale: Optional[LossScale] = None,
        quantized_training: Optional[QuantizedTraining] = None,
        cost: Optional[FullPrecisionCost] = None,
    ):
        self.task, self.model, self.criterion = task, model, criterion
        self.precision, self.batches, self.clip_norm = precision, batches, clip_norm
        self.loss_scale, self.quantized_training, self.cost = loss_scale, quantized_training, cost

    def compute(self, samples: list[Any], num_updates: int, optimizer: Any) -> tuple[list[dict[str, Any]], Any, Tensor]:
        """Gradients over all processes, averaged and clipped.

        Returns:
            logging outputs and sample size of all processes, and the norm before clipping.
        """
        logging_outputs, sample_size = self.forward_backward(samples, num_updates, optimizer)
        logging_outputs, sample_size = statistics.aggregate(
            logging_outputs, sample_size, statistics.can_be_summed(self.task, self.criterion), self.batches.device
        )
        return logging_outputs, sample_size, self._reduce(sample_size, num_updates, optimizer)

    def forward_backward(
        self, samples: list[Any], num_updates: int, optimizer: Any
    ) -> tuple[list[dict[str, Any]], Any]:
        """Summed gradients of this process's micro-batches; returns their logging outputs and summed sample size."""
        if self.quantized_training is None:
            with contextlib.nullcontext() if self.cost is None else self.cost.update():
                return self._micro_batches(samples, num_updates, optimizer, None)
        with self.quantized_training.update(num_updates) as num_bits:
            return self._micro_batches(samples, num_updates, optimizer, num_bits)

    def _micro_batches(
        self, samples: list[Any], num_updates: int, optimizer: Any, num_bits: Optional[int]
    ) -> tuple[list[dict[str, Any]], Any]:
        logging_outputs, total_sample_size = [], 0
        bits = bits_for(self.task, num_bits, "train_step")
        one_process = distributed_utils.get_world_size() == 1
        for index, sample in enumerate(samples):
            sample, is_dummy = self.batches.prepare(sample)
            if self.quantized_training is not None:
                self.quantized_training.begin_micro_batch(num_updates, index, is_dummy)
            # gradients of several micro-batches are exchanged once, with the last of them
            last = index == len(samples) - 1
            wrapped: Any = self.model
            sync = contextlib.nullcontext() if last or one_process else wrapped.no_sync()
            with sync, self.precision.autocast():
                _, sample_size, logging_output = self.task.train_step(
                    sample=sample,
                    model=self.model,
                    criterion=self.criterion,
                    optimizer=optimizer,
                    update_num=num_updates,
                    ignore_grad=is_dummy,
                    **bits,
                )
            logging_outputs += statistics.contribution(self.task, self.criterion, logging_output, is_dummy)
            if not is_dummy:
                total_sample_size = total_sample_size + sample_size
        return logging_outputs, total_sample_size

    def _reduce(self, sample_size: Any, num_updates: int, optimizer: Any) -> Tensor:
        """Exchange, average and clip the gradients; returns their norm before clipping."""
        optimizer.all_reduce_grads(self.model)
        average_gradients(p for p in self.criterion.parameters() if p.requires_grad)
        scale = 1.0 if self.loss_scale is None else self.loss_scale.value
        factor = distributed_utils.get_world_size() / (float(sample_size) or 1.0) / scale
        if self.quantized_training is None or self.quantized_training.diversity is None:
            return optimizer.multiply_and_clip_grads(factor, self.clip_norm)
        optimizer.multiply_grads(factor)
        self.quantized_training.see_gradients(num_updates, trained_parameters((self.model, self.criterion)))
        return optimizer.clip_grad_norm(self.clip_norm)
