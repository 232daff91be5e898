"""Latency model of products on a machine, in integers and simulated; `compute: auto` decides by it.

    seconds = a * products + b * elements + c        for forward and backward of an update
    linear layer (M, K) x (N, K):    products = 3 M K N,      elements = M K + K N + M N
    attention, B heads of (T, D):    products = 6 B T T D,    elements = 4 B T D + 2 B T T

Integers are chosen where they are estimated to save at least 3 %. A layer's shape is known when a model is quantized, a
batch's is not: it is taken to have 16 sentences of 64 tokens.

Both round the same tensors to the same codes. Where layers are so small that rounding costs more than any product
could save, both are slower than full precision; `auto` then takes the one that loses less.

>>> linear = ComputeTimes(simulate=LinearLatency(3e-12, 1e-9, 1e-4), integer=LinearLatency(1e-12, 1e-9, 5e-4))
>>> attention = ComputeTimes(simulate=LinearLatency(3e-12, 4e-9, 1e-4), integer=LinearLatency(2e-12, 3e-9, 4e-4))
>>> latencies = Latencies(linear, attention)
>>> latencies.prefers_integers((768, 768)), latencies.prefers_integers((32, 32))
(True, False)
>>> latencies.prefers_integer_attention(12, 64), latencies.prefers_integer_attention(1, 8)
(True, False)
"""

from typing import NamedTuple

SENTENCES, LENGTH = 16, 64  # of the batch that latencies are compared for
MIN_GAIN = 0.03  # of the simulated time


class OpCount(NamedTuple):
    """Multiply-accumulates, and elements of operands and results, of forward and backward."""

    products: float
    elements: float

    @classmethod
    def of_linear(cls, rows: int, inputs: int, outputs: int) -> "OpCount":
        """A layer (outputs, inputs) on `rows` tokens."""
        return cls(3 * rows * inputs * outputs, rows * inputs + inputs * outputs + rows * outputs)

    @classmethod
    def of_attention(cls, heads: int, length: int, features: int) -> "OpCount":
        """Both products of attention: `heads` of all sentences, (length, features) each."""
        return cls(6 * heads * length * length * features, heads * length * (4 * features + 2 * length))


class LinearLatency(NamedTuple):
    """Seconds per multiply-accumulate, per element of an operand or result, and per call."""

    product: float
    element: float
    call: float

    def seconds(self, count: OpCount) -> float:
        return self.product * count.products + self.element * count.elements + self.call


class ComputeTimes(NamedTuple):
    """Latencies of one kind of product, simulated and in integers."""

    simulate: LinearLatency
    integer: LinearLatency

    def gains(self, count: OpCount) -> bool:
        """Whether integers are estimated to save MIN_GAIN or more."""
        return self.integer.seconds(count) < (1 - MIN_GAIN) * self.simulate.seconds(count)


class Latencies(NamedTuple):
    """Latencies of one machine."""

    linear: ComputeTimes
    attention: ComputeTimes

    def prefers_integers(self, shape: tuple[int, int]) -> bool:
        """For a linear layer whose weight is (outputs, inputs)."""
        outputs, inputs = shape
        return self.linear.gains(OpCount.of_linear(SENTENCES * LENGTH, inputs, outputs))

    def prefers_integer_attention(self, heads: int, features: int) -> bool:
        """For the products of attention with so many heads of so many features."""
        return self.attention.gains(OpCount.of_attention(SENTENCES * heads, LENGTH, features))

    def as_lists(self) -> dict[str, dict[str, list[float]]]:
        """As JSON has it."""
        return {
            kind: {way: list(line) for way, line in times._asdict().items()} for kind, times in self._asdict().items()
        }

    @classmethod
    def of_lists(cls, found: dict[str, dict[str, list[float]]]) -> "Latencies":
        """From `as_lists`.

        Raises:
            KeyError, OverflowError, TypeError, ValueError: it is something else.
        """
        return cls(
            *(
                ComputeTimes(*(LinearLatency(*map(float, found[kind][way])) for way in ComputeTimes._fields))
                for kind in cls._fields
            ),
        )
