"""A model spread over processes: one batch through all stages, forward and backward, under one of torch's schedules.

    pipeline = Pipeline(model, criterion, settings, device, pad=1)
    outputs = pipeline.train(sample, update, run)     # run(micro_batch, number) -> loss and what is to be logged
    outputs = pipeline.evaluate(sample, run)

Ranks of one pipeline are neighbours; further ones hold copies of it for data parallelism. Every process of a pipeline
reads the same batches. Every stage draws its dropout from a seed of its own, by update, stage and micro-batch.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch import distributed as dist

from fairseq.distributed.collectives import broadcast_object
from fairseq.distributed.pipeline import schedules
from fairseq.distributed.pipeline.micro_batches import cut, rows_per_part
from fairseq.distributed.pipeline.settings import PipelineSettings
from fairseq.distributed.pipeline.split import Split, as_sent, parameter_stages
from fairseq.distributed.pipeline.stage import CodecStage, Traffic
from fairseq.errors import ConfigError, FairseqError

# a micro-batch and its number -> the loss to differentiate and what the task says of it
Run = Callable[[Any, int], tuple[Tensor, Any]]


class Pipeline:
    """This process's part of a pipeline.

    Attributes:
        split: the model's layers by stage.
        place: rank within the pipeline.
        replica, num_replicas: number of this copy of the pipeline, and of copies.
        group, replicas: process groups of the pipeline and of what has the same stages.
        stages: numbers of this process's stages.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        settings: PipelineSettings,
        device: torch.device,
        pad: int,
        seed: int = 0,
    ):
        self.settings, self.device, self.pad, self.seed = settings, device, pad, seed
        world, rank = dist.get_world_size(), dist.get_rank()
        self.split = Split(model, settings.balance)  # first: its errors say most
        self.num_ranks = settings.ranks(world)
        if self.split.num_encoder_layers and settings.schedule in schedules.ZERO_BUBBLE:
            raise ConfigError(
                f"pp_schedule={settings.schedule} cannot spread a model with encoder and decoder: torch would need the "
                "graph of what crosses from one to the other twice; choose 1f1b, gpipe, interleaved or looped_bfs"
            )
        self._parameters: dict[int, list[nn.Parameter]] = {stage: [] for stage in range(len(settings.balance))}
        for _, parameter, stages in parameter_stages(self.split):
            for stage in stages:
                self._parameters[stage].append(parameter)
        self._parameters[len(settings.balance) - 1] += criterion.parameters()
        self.num_replicas = world // self.num_ranks
        self.replica, self.place = divmod(rank, self.num_ranks)
        self.ranks = [self.replica * self.num_ranks + place for place in range(self.num_ranks)]
        groups = [
            dist.new_group([replica * self.num_ranks + place for place in range(self.num_ranks)])
            for replica in range(self.num_replicas)
        ]
        copies = [
            dist.new_group([replica * self.num_ranks + place for replica in range(self.num_replicas)])
            for place in range(self.num_ranks)
        ]
        self.group, self.replicas = groups[self.replica], copies[self.place]
        self.places = schedules.places(settings.schedule, len(settings.balance), self.num_ranks)
        self.stages = [stage for stage, place in enumerate(self.places) if place == self.place]
        self.last_rank = self.ranks[self.places[-1]]
        self._schedules: dict[Any, tuple[Any, list[_Stage]]] = {}
        self._batch: Optional[_Batch] = None
        self.traffic: dict[tuple[int, str], Traffic] = {}

    def train(self, sample: Any, update: int, run: Run, number: int = 0) -> list[Any]:
        """Forward and backward of a batch; gradients add up in the model.

        Args:
            number: of the batch in the update.

        Returns:
            What `run` said of each micro-batch, in every process.
        """
        return self._run(sample, _Batch(run, update, number, is_training=True))

    def evaluate(self, sample: Any, run: Run) -> list[Any]:
        """The forward alone."""
        with torch.no_grad():
            return self._run(sample, _Batch(run, 0, 0, is_training=False))

    def _forward(self, stages: Sequence["_Stage"], tokens: Tensor) -> None:
        """All micro-batches through a stage, then through the next of this process. torch's schedules of several stages
        in a process evaluate in the order of training, and some of them ask for gradients then.
        """
        sending, parts = [], tokens.chunk(self.settings.chunks)
        outputs: dict[tuple[int, int], Any] = {}
        for stage in stages:
            stage.prepare_forward(self.places, self.settings.chunks)
            number = stage.stage_index
            is_local = number > 0 and self.places[number - 1] == self.place
            for chunk, part in enumerate(parts):
                if is_local:
                    stage.set_local_fwd_input(outputs[number - 1, chunk], chunk)
                elif number:
                    for work in dist.batch_isend_irecv(stage.get_fwd_recv_ops(chunk)):
                        work.wait()
                outputs[number, chunk] = stage.forward_one_chunk(chunk, (part,) if not number else (), {})
                if number + 1 < len(self.places) and self.places[number + 1] != self.place:
                    sending += dist.batch_isend_irecv(stage.get_fwd_send_ops(chunk))
        for work in sending:
            work.wait()
        for stage in stages:
            stage.clear_runtime_states()

    def _run(self, sample: Any, batch: "_Batch") -> list[Any]:
        chunks = self.settings.chunks
        batch.parts = cut(sample, chunks, self.pad)
        inputs = sample["net_input"]
        lengths = [inputs[key].size(1) for key in ("src_tokens", "prev_output_tokens") if key in inputs]
        rows = rows_per_part(sample, chunks)
        schedule, stages = self._schedule(rows, lengths, batch.is_training)
        for stage in stages:
            stage.module.batch, stage.update = batch, batch.update * 1000 + batch.number
        target = torch.zeros(rows * chunks)
        state = torch.get_rng_state()
        try:
            if batch.is_training:
                schedule.step(*((target[:, None],) if 0 in self.stages else ()), target=target)
            else:
                self._forward(stages, target[:, None])
        finally:
            torch.set_rng_state(state)
        said = [batch.said[chunk] for chunk in sorted(batch.said)]
        return broadcast_object(said, self.last_rank, self.group)  # type: ignore[no-any-return]

    def _schedule(self, rows: int, lengths: Sequence[int], is_training: bool) -> tuple[Any, list["_Stage"]]:
        """A schedule for micro-batches of this size, made once: torch's stages are of one shape. None to evaluate."""
        key = (is_training, rows, *lengths)
        if key not in self._schedules:
            stages = [self._stage(number, rows, lengths) for number in self.stages]
            built = (
                None
                if not is_training
                else schedules.build(self.settings.schedule, stages, self.settings.chunks, lambda loss, _: loss.sum())
            )
            self._schedules[key] = built, stages
        return self._schedules[key]

    def _stage(self, number: int, rows: int, lengths: Sequence[int]) -> "_Stage":
        last = len(self.settings.balance) - 1

        def like(boundary: int) -> tuple[Tensor, ...]:
            return tuple(
                torch.empty(shape, device=self.device, requires_grad=True)
                for shape in self.split.shapes(boundary, rows, lengths)
            )

        received = like(number - 1) if number else (torch.zeros(rows, 1),)
        sent = like(number) if number < last else (torch.empty(1, device=self.device, requires_grad=True),)
        module = _StageModule(self.split, number, [tuple(y.shape) for y in sent], self.seed)
        module.trained = [parameter for parameter in self._parameters[number] if parameter.requires_grad]
        stage = _Stage(
            module, number, last + 1, self.device, input_args=received, output_args=sent, group=self.group,
            forward=self.settings.forward, backward=self.settings.backward,
        )  # fmt: skip
        stage.module = module
        for direction in stage.traffic:  # one count for all shapes
            stage.traffic[direction] = self.traffic.setdefault((number, direction), Traffic())
        return stage


class _Batch:
    """A batch on its way through the stages."""

    def __init__(self, run: Run, update: int, number: int, is_training: bool):
        self.run, self.update, self.number, self.is_training = run, update, number, is_training
        self.parts: list[Any] = []
        self.said: dict[int, Any] = {}


class _StageModule(nn.Module):
    """What torch's stage calls with what it received; knows the batch by the side."""

    def __init__(self, split: Split, number: int, shapes: list[tuple[int, ...]], seed: int):
        super().__init__()
        self.split, self.number, self.shapes, self.seed = split, number, shapes, seed
        self.batch: Any = None
        self.chunk = 0
        self.trained: list[nn.Parameter] = []

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """What zero-bubble schedules compute gradients of, apart from those of activations."""
        return iter(self.trained)

    def forward(self, *received: Tensor) -> Any:
        split, batch, chunk = self.split, self.batch, self.chunk
        part, is_last = batch.parts[chunk], self.number == len(split.bounds) - 1
        if part is None:
            return self._nothing(received, is_last)
        rows = part["net_input"]["src_tokens"].size(0)
        own = tuple(x[:, :rows] for x in received) if self.number else ()
        torch.manual_seed(zlib.crc32(f"{self.seed} {batch.update} {batch.number} {self.number} {chunk}".encode()))
        result = split.run(self.number, own, lambda: batch.run(part, chunk))
        if not is_last:
            return as_sent(result, self.shapes)  # type: ignore[arg-type]
        loss, batch.said[chunk] = result
        return loss.float().reshape(1)

    def _nothing(self, received: Sequence[Tensor], is_last: bool) -> Any:
        """For an empty micro-batch: zeros that a gradient, which will be zero, can pass through."""
        base = sum((x.sum() * 0 for x in received), torch.zeros(())) if self.number else torch.zeros(())
        if torch.is_grad_enabled() and not base.requires_grad:
            base = base.requires_grad_()
        return base.reshape(1) + 0 if is_last else tuple(base + torch.zeros(shape) for shape in self.shapes)


class _Stage(CodecStage):
    """Tells its module which micro-batch it gets, and lets users' errors through."""

    module: _StageModule

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        self.module.chunk = fwd_chunk_id
        try:
            return super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        except RuntimeError as error:
            if isinstance(error.__cause__, FairseqError):
                raise error.__cause__ from None
            raise
