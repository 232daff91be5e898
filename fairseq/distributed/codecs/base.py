"""What a codec is, and the small language that names one: `name:argument,argument+codec of what is left`.

A codec of one's own is a class with a size, a packing and an unpacking, all of flat fp32 tensors:

    @CODECS.register("halves")
    class Halves(Codec):
        def packed_size(self, shape): return 2 * math.prod(shape)
        def pack(self, x, shape, seed): return x.half().view(torch.uint8)
        def unpack(self, packed, shape): return packed.view(torch.half).float()

`encode` puts four bytes in front, a CRC-32 of codec and shape, so that `decode` refuses what another codec has made.
NaN and infinity come out as NaN, with what shares their scale: what has diverged stays visible.

>>> codec("group:4,63").size((4, 64))
152
>>> codec("gruop:4,64")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown codec 'gruop'; did you mean 'group'?
"""

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError, DataError, unknown
from fairseq.quantization.formats import FORMATS
from fairseq.quantization.registry import Registry

Shape = Sequence[int]
TAG_BYTES = 4


class Codec(ABC):
    """Tensors to messages and back.

    Attributes:
        spec: the text that `codec` makes an equal one of.
        form: how it is written, for messages.
        takes_inner: whether another codec follows behind a `+`.
        is_exact: whether decoding gives back every fp32 number.
    """

    spec: str = ""
    form: ClassVar[str] = ""
    takes_inner: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"codec({self.spec!r})"

    # --- what a codec of one's own has ----------------------------------------------------------------------------

    @abstractmethod
    def packed_size(self, shape: Shape) -> int:
        """Bytes of what `pack` makes of a tensor of this shape."""

    @abstractmethod
    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        """A flat uint8 tensor. `x`: flat, contiguous, fp32; `seed`: what stochastic rounding starts from."""

    @abstractmethod
    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        """Flat, fp32."""

    # --- what its users call --------------------------------------------------------------------------------------

    def size(self, shape: Shape) -> int:
        """Bytes of a message for a tensor of this shape."""
        return TAG_BYTES + self.packed_size(tuple(shape)) if math.prod(shape) else TAG_BYTES

    @torch.no_grad()
    def encode(self, x: Tensor, seed: int = 0) -> Tensor:
        """`x`, of any floating-point type, as a message: flat uint8, `size(x.shape)` long, on the same device.

        Args:
            seed: of stochastic rounding; equal seeds give equal messages, in every process.
        """
        flat = x.detach().reshape(-1).to(torch.float32).contiguous()
        tag = self._tag(x.shape).to(x.device)
        if not flat.numel():
            return tag
        return torch.cat([tag, self.pack(flat, tuple(x.shape), seed)])

    @torch.no_grad()
    def decode(self, message: Tensor, shape: Shape, dtype: torch.dtype = torch.float32) -> Tensor:
        """The tensor that a message stands for.

        Raises:
            DataError: a message that is too short or too long, or that another codec or shape has made.
        """
        shape = tuple(shape)
        what = f"codec {self.spec}, shape {list(shape)}"
        if message.dtype != torch.uint8 or message.dim() != 1:
            raise DataError(f"{what}: a message is a flat uint8 tensor, got {message.dtype} {list(message.shape)}")
        if message.numel() != self.size(shape):
            raise DataError(f"{what}: the message has {message.numel()} bytes instead of {self.size(shape)}")
        if not torch.equal(message[:TAG_BYTES].cpu(), self._tag(shape)):
            raise DataError(f"{what}: the message is of another codec or another shape, or it is damaged")
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype, device=message.device)
        return self.unpack(message[TAG_BYTES:], shape).view(shape).to(dtype)

    def round_trip(self, x: Tensor, seed: int = 0) -> Tensor:
        """What arrives where `x` is sent."""
        return self.decode(self.encode(x, seed), x.shape, x.dtype)

    def mask(self, message: Tensor, shape: Shape) -> Optional[Tensor]:
        """Which values a message keeps, as a flat bitmap; None of a codec that keeps all."""
        return None

    def with_mask(self, mask: Optional[Tensor]) -> "Codec":
        """This codec for values that both sides know to be kept by `mask`; itself where that saves nothing."""
        return self

    def shares_mask(self, other: "Codec") -> bool:
        """Whether values that `other` keeps are those that this codec keeps of their gradients."""
        return False

    def _tag(self, shape: Shape) -> Tensor:
        digest = zlib.crc32(f"{self.spec} {list(shape)}".encode())
        return torch.frombuffer(bytearray(digest.to_bytes(TAG_BYTES, "little")), dtype=torch.uint8)


CODECS: Registry[Callable[..., Codec]] = Registry("codec", __name__.rpartition(".")[0])


def codec(spec: Any) -> Codec:
    """The codec that a text describes; a `Codec` as it is.

    Raises:
        ConfigError: an unknown name, arguments that cannot be.
    """
    if isinstance(spec, Codec):
        return spec
    text = str(spec).strip()
    own, plus, rest = text.partition("+")
    name, _, arguments = own.partition(":")
    name, given = name.strip(), [part.strip() for part in arguments.split(",")] if arguments else []
    inner = codec(rest) if plus else None
    if name not in CODECS:
        if name not in FORMATS:
            blocks = [entry for entry in FORMATS if entry.startswith(("mx", "nvfp", "block_"))]
            raise ConfigError(unknown("codec", name, [*CODECS, *blocks]))
        name, given = "format", [name, *given]
    kind = CODECS.lookup(name)
    takes_inner, form = getattr(kind, "takes_inner", False), getattr(kind, "form", name)
    if takes_inner != (inner is not None):
        why = f"{name} wants a codec behind a +, as in {form}" if takes_inner else f"nothing can follow {own}"
        raise ConfigError(f"codec {text!r}: {why}")
    try:
        made = kind(*given, **({"inner": inner} if takes_inner else {}))
    except TypeError:
        raise ConfigError(f"codec {text!r}: it is written {form}") from None
    except ConfigError as error:
        raise ConfigError(f"codec {text!r}: {error}; it is written {form}") from None
    made.spec = text.replace(" ", "")
    return made


def whole(text: Any, what: str, least: int, most: int) -> int:
    """An argument that is a whole number from `least` to `most`; ConfigError otherwise."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ConfigError(f"{what} is {text!r}, not a whole number from {least} to {most}")
    return number
