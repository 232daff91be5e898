"""Gradients of data parallelism exchanged in few bits: `--ddp-comm-hook`, for torch's DDP on gloo and NCCL.

    fp16, bf16      half the bytes
    int8_ef         group:8,128 and error feedback: a quarter
    topk_ef         topk:0.1+group:8,64 and error feedback: a tenth of the values
    lowrank         matrices as products of rank 4, with error feedback (PowerSGD, Vogels et al. 2019)

All but the last send messages of codecs (`distributed/codecs`), in two steps: every process gets a share of everybody's
gradients, adds it up in fp32, and sends the mean to all. So values are rounded twice, whatever the number of processes,
and every process decodes the same messages: replicas stay equal bit for bit.

Error feedback adds to the next update's gradient what this one's lost: e = p - decode(p), p = gradient + e. What the
second rounding loses is kept by the process that adds up. Errors start at zero when a run resumes.

Collectives block, and are called bucket by bucket, so that all processes call them in the same order.
"""

from typing import Any, Optional

import torch
from torch import Tensor
from torch import distributed as dist

from fairseq.distributed.codecs import Codec, codec
from fairseq.errors import ConfigError, unknown

CODECS = {"fp16": "fp16", "bf16": "bf16", "int8_ef": "group:8,128", "topk_ef": "topk:0.1+group:8,64"}
RANK = 4
NAMES = ("none", *CODECS, "lowrank")


def add_hook(model: Any, name: str) -> None:
    """Let the DDP `model` exchange its gradients by the hook called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in NAMES:
        raise ConfigError(unknown("ddp_comm_hook", name, NAMES))
    if name == "none":
        return
    exchange: Any = LowRankExchange() if name == "lowrank" else CodedExchange(codec(CODECS[name]), name.endswith("_ef"))
    model.register_comm_hook(exchange, _hook)


def _hook(exchange: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    with torch.no_grad():
        future.set_result(exchange.mean(bucket))
    return future


class CodedExchange:
    """The mean over processes of flat gradients, by messages of a codec.

    Attributes:
        sent: bytes of messages to other processes.
    """

    def __init__(self, codec: Codec, has_feedback: bool, group: Optional[Any] = None):
        self.codec, self.has_feedback, self.group = codec, has_feedback, group
        self.sent = 0
        self._errors: dict[int, Tensor] = {}

    def mean(self, bucket: Any) -> Tensor:
        """Of a bucket of DDP's, in its own buffer."""
        buffer = bucket.buffer()
        return buffer.copy_(self.mean_of(buffer, bucket.index()))

    def mean_of(self, x: Tensor, key: int = 0) -> Tensor:
        """Of `x`, flat; `key` says whose error it is added to."""
        world, rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        size = -(-x.numel() // world)
        shares = torch.nn.functional.pad(x.float(), (0, size * world - x.numel())).view(world, size)
        error = self._errors.get(key)
        if self.has_feedback and error is not None and error.shape == shares.shape:  # DDP may form other buckets
            shares = shares + error
        messages = torch.stack([self.codec.encode(share) for share in shares])
        received = torch.empty_like(messages)
        dist.all_to_all_single(received, messages, group=self.group)
        total = torch.zeros(size, device=x.device)
        for message in received:
            total += self.codec.decode(message, (size,))
        total /= world
        summed = self.codec.encode(total)
        gathered = [torch.empty_like(summed) for _ in range(world)]
        dist.all_gather(gathered, summed, group=self.group)
        mean = torch.stack([self.codec.decode(message, (size,)) for message in gathered])
        self.sent += (world - 1) * (messages.shape[1] + summed.numel())
        if self.has_feedback:
            lost = shares - torch.stack([self.codec.decode(message, (size,)) for message in messages])
            lost[rank] += world * (total - mean[rank])
            self._errors[key] = lost
        return mean.view(-1)[: x.numel()].to(x.dtype)


class LowRankExchange:
    """The mean over processes of gradients: of matrices what a product of rank RANK holds, of others in fp32."""

    def __init__(self, rank: int = RANK, group: Optional[Any] = None):
        self.rank, self.group = rank, group
        self.sent = 0
        self._errors: dict[int, Tensor] = {}
        self._bases: dict[int, Tensor] = {}

    def mean(self, bucket: Any) -> Tensor:
        """Of a bucket of DDP's, in its own buffer."""
        matrices, others = [], []
        for parameter, grad in zip(bucket.parameters(), bucket.gradients(), strict=True):
            if grad.dim() > 1 and self.rank * (grad.size(0) + grad[0].numel()) < grad.numel():
                matrices.append((id(parameter), grad))
            else:
                others.append(grad)
        if others:
            self._reduce_flat(others)
        left, work = [], []
        for key, grad in matrices:
            matrix = grad.reshape(grad.size(0), -1).float()
            if key in self._errors:
                matrix = matrix + self._errors[key]
            if key not in self._bases:
                generator = torch.Generator().manual_seed(matrix.numel())
                self._bases[key] = torch.randn(matrix.size(1), self.rank, generator=generator).to(grad.device)
            left.append(matrix @ self._bases[key])
            work.append(matrix)
        self._reduce_flat(left)
        left = [torch.linalg.qr(each).Q for each in left]
        right = [matrix.T @ each for matrix, each in zip(work, left, strict=True)]
        self._reduce_flat(right)
        for (key, grad), matrix, p, q in zip(matrices, work, left, right, strict=True):
            self._bases[key] = q
            mean = p @ q.T
            self._errors[key] = matrix - mean
            grad.copy_(mean.view_as(grad))
        return bucket.buffer()  # type: ignore[no-any-return]

    def _reduce_flat(self, tensors: list[Tensor]) -> None:
        """Each becomes its mean over processes, in one collective."""
        if not tensors:
            return
        flat = torch.cat([x.reshape(-1).float() for x in tensors])
        dist.all_reduce(flat, group=self.group)
        flat /= dist.get_world_size(self.group)
        self.sent += flat.numel() * 4
        for x, mean in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
            x.copy_(mean.view_as(x))
