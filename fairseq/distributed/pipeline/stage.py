"""A stage of a pipeline that sends and receives codes in place of numbers, under any schedule of torch's.

    stage = CodecStage(module, index, count, device, input_args=x, output_args=y, forward=codec("group:4,64"),
                       backward=codec("group:8,64,sr"))

The next stage computes with what it has decoded, and the stage before gets the decoded gradient of that: the gradient
of rounding is taken as 1. Tensors between stages of the same process do not travel and are not rounded. Where both
directions keep the same share of values, a gradient travels with the mask of its activations.

A module at the end of a stage could not do this: integers have no gradient. So the tensors of the messages are
exchanged where torch's stage makes them.
"""

import time
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining._utils import InferenceMode

from fairseq.distributed.codecs import Codec


class Traffic:
    """What one direction of a boundary has sent, as this end sees it.

    Attributes:
        logical: bytes of the tensors.
        sent, received: bytes of messages.
        encoding, decoding: seconds.
        messages: sent or received.
    """

    def __init__(self) -> None:
        self.logical = self.sent = self.received = self.messages = 0
        self.encoding = self.decoding = 0.0


class _Arriving(NamedTuple):
    message: Tensor
    shape: torch.Size
    dtype: torch.dtype


def message_seed(update: int, boundary: int, direction: str, micro_batch: int) -> int:
    """The seed of stochastic rounding of one message; `boundary`: the number of the stage before it."""
    return zlib.crc32(f"{update} {boundary} {direction} {micro_batch}".encode())


class CodecStage(PipelineStage):
    """torch's stage with a codec for each direction; None leaves one as it is.

    Attributes:
        update: number of the update, for stochastic rounding.
        traffic: by direction, "forward" and "backward".
    """

    def __init__(
        self, *args: Any, forward: Optional[Codec] = None, backward: Optional[Codec] = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.codecs = {"forward": forward, "backward": backward}
        self.update = 0
        self.traffic = {"forward": Traffic(), "backward": Traffic()}
        self._arriving: dict[tuple[str, int, int], _Arriving] = {}
        self._masks: dict[tuple[int, int, int], Optional[Tensor]] = {}  # by boundary, micro-batch and place
        self._sent: list[Tensor] = []

    def prepare_forward(self, places: Sequence[int], num_micro_batches: int) -> None:
        """Get ready for forwards without a schedule. `places`: the rank of each stage in the group."""
        self.stage_index_to_group_rank = dict(enumerate(places))
        self.has_backward = False
        self._inference_mode = InferenceMode.STATIC
        self._prepare_forward_infra(num_micro_batches, (), {}, has_backward=False)

    # --- sending --------------------------------------------------------------------------------------------------

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        return self._packed(super().get_fwd_send_ops(fwd_chunk_id), "forward", self.stage_index, fwd_chunk_id)

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        return self._packed(super().get_bwd_send_ops(bwd_chunk_id), "backward", self.stage_index - 1, bwd_chunk_id)

    def _packed(self, ops: list[dist.P2POp], direction: str, boundary: int, chunk: int) -> list[dist.P2POp]:
        """`ops` with messages for tensors, which are kept until they have been sent."""
        traffic = self.traffic[direction]
        for place, op in enumerate(ops):
            x = op.tensor
            traffic.logical += x.numel() * x.element_size()
            codec = self._codec(direction, boundary, chunk, place)
            if codec is not None and x.is_floating_point():
                start = time.perf_counter()
                op.tensor = codec.encode(x, message_seed(self.update, boundary, direction, chunk))
                traffic.encoding += time.perf_counter() - start
                if direction == "forward" and self._shares_masks:
                    self._masks[boundary, chunk, place] = codec.mask(op.tensor, x.shape)
            else:
                op.tensor = x.contiguous()  # which gradients of a transposed product are not
            self._sent.append(op.tensor)
            traffic.sent += op.tensor.numel() * op.tensor.element_size()
            traffic.messages += 1
        return ops

    # --- receiving ------------------------------------------------------------------------------------------------

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        ops = super().get_fwd_recv_ops(fwd_chunk_id)
        infos = [info for info in self.args_recv_info[fwd_chunk_id] if not info.is_root_arg]
        return self._unpacked(ops, infos, "forward", self.stage_index - 1, fwd_chunk_id)

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        ops = super().get_bwd_recv_ops(bwd_chunk_id)
        infos = self.grad_recv_info[bwd_chunk_id] if ops else ()
        return self._unpacked(
            ops, [info for info in infos if info.tensor_meta is not None], "backward", self.stage_index, bwd_chunk_id
        )

    def _unpacked(
        self, ops: list[dist.P2POp], infos: list[Any], direction: str, boundary: int, chunk: int
    ) -> list[dist.P2POp]:
        """`ops` that receive messages, which are decoded when the tensors are asked for."""
        for place, (op, info) in enumerate(zip(ops, infos, strict=True)):
            meta = info.tensor_meta
            codec = self._codec(direction, boundary, chunk, place)
            if codec is not None and meta.dtype.is_floating_point:
                message = torch.empty(codec.size(meta.shape), dtype=torch.uint8, device=op.tensor.device)
                self._arriving[direction, chunk, place] = _Arriving(message, meta.shape, meta.dtype)
                op.tensor = message
            self.traffic[direction].received += op.tensor.numel() * op.tensor.element_size()
        return ops

    def _retrieve_recv_activations(self, fwd_chunk_id: int) -> Any:
        self._decode(self.args_recv_info[fwd_chunk_id], "forward", self.stage_index - 1, fwd_chunk_id)
        return super()._retrieve_recv_activations(fwd_chunk_id)

    def _retrieve_recv_grads(self, bwd_chunk_id: int) -> Any:
        self._decode(self.grad_recv_info[bwd_chunk_id], "backward", self.stage_index, bwd_chunk_id)
        return super()._retrieve_recv_grads(bwd_chunk_id)

    def _decode(self, infos: Any, direction: str, boundary: int, chunk: int) -> None:
        """Put what has arrived where torch's stage looks for it; nothing has from a stage of the same process."""
        for place, info in enumerate(info for info in infos if not info.is_root_arg and info.tensor_meta is not None):
            arriving = self._arriving.pop((direction, chunk, place), None)
            codec = self._codec(direction, boundary, chunk, place)
            if arriving is None or codec is None:
                continue
            start = time.perf_counter()
            info.buffer = codec.decode(arriving.message, arriving.shape, arriving.dtype)
            self.traffic[direction].decoding += time.perf_counter() - start
            if direction == "forward" and self._shares_masks:
                self._masks[boundary, chunk, place] = codec.mask(arriving.message, arriving.shape)

    # ---------------------------------------------------------------------------------------------------------------

    @property
    def _shares_masks(self) -> bool:
        forward, backward = self.codecs["forward"], self.codecs["backward"]
        return forward is not None and backward is not None and backward.shares_mask(forward)

    def _codec(self, direction: str, boundary: int, chunk: int, place: int) -> Optional[Codec]:
        codec = self.codecs[direction]
        if codec is not None and direction == "backward" and self._shares_masks:
            return codec.with_mask(self._masks.get((boundary, chunk, place)))
        return codec

    def forward_maybe_with_nosync(self, *args: Any, **kwargs: Any) -> Any:
        # schedules with zero bubbles detach outputs in place, which views refuse
        output = super().forward_maybe_with_nosync(*args, **kwargs)
        if isinstance(output, tuple):
            return tuple(_own(y) for y in output)
        return _own(output)

    def clear_runtime_states(self) -> None:
        super().clear_runtime_states()
        for state in (self._sent, self._masks, self._arriving):
            state.clear()  # type: ignore[attr-defined]


def _own(y: Any) -> Any:
    return y.clone() if isinstance(y, Tensor) and y._is_view() else y
