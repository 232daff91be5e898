"""Recurrent layers and cells that take `num_bits`: nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell.

    gates of the input   Q(x) Q(W_ih)^T + b_ih        of all time steps at once
    gates of the state   Q(h) Q(W_hh)^T + b_hh        step by step
    projection           Q(h) Q(W_hr)^T               where an LSTM has one

Each is a linear product with the quantizers of one: `<path>.ih_l0.input`, `<path>.hh_l0.weight`, `<path>.hr_l0.bias`,
`<path>.ih_l0_reverse.grad_output`, ...; of cells `<path>.ih.input`, ... A weight is rounded once a call, a state at
every step. Where nothing is rounded torch's own kernel runs. Parameters, arguments and results are torch's.

Shapes: T steps, B sequences, I inputs, H hidden features; packed sequences are N = sum of batch sizes rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.simulated import notify_full_precision
from fairseq.quantization.spec import QuantizerSpec

StepProduct = Callable[[Tensor, int], Tensor]
States = tuple[Tensor, ...]  # h, and c of an LSTM


def parts(module: Any) -> dict[str, tuple[str, Optional[str]]]:
    """Product -> the names of its weight and its bias."""
    suffixes = [name.removeprefix("weight_ih") for name in module._parameters if name.startswith("weight_ih")]
    found: dict[str, tuple[str, Optional[str]]] = {}
    for suffix in suffixes:
        for kind in ("ih", "hh", "hr"):
            if f"weight_{kind}{suffix}" in module._parameters:
                bias = f"bias_{kind}{suffix}"
                has_bias = module._parameters.get(bias) is not None
                found[kind + suffix] = f"weight_{kind}{suffix}", bias if has_bias else None
    return found


class RecurrentQuantizers(nn.Module):
    """The quantizers of all products of a recurrent layer.

    Args:
        path: the layer's path.
        module: the layer.
        specs: settings by (product, quantizer).
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        module: nn.Module,
        specs: Mapping[tuple[str, str], QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        super().__init__()
        self.path, self.context = path, context
        for part, (weight, _) in parts(module).items():
            own = {key: spec for (owner, key), spec in specs.items() if owner == part}
            where = f"{path}.{part}".lstrip(".")
            self.add_module(part, LinearQuantizers(where, getattr(module, weight), own, context, calibration_bits))

    def rounds(self, num_bits: Optional[int]) -> bool:
        """Whether any tensor is rounded in a call at `num_bits`."""
        resolved = self.context.resolve(num_bits)
        found = [part.bits_at(resolved) for part in self._modules.values()]  # type: ignore[union-attr, operator]
        return any(not bits.full_precision or bits.bias is not None or bits.result is not None for bits in found)

    def product(self, module: Any, part: str, num_bits: Optional[int]) -> StepProduct:
        """The product `part` of one call of `module`."""
        weight, bias = parts(module)[part]
        quantizers: Any = self._modules[part]
        return quantizers.steps(getattr(module, weight), bias and getattr(module, bias), num_bits)  # type: ignore[no-any-return]

    def notify(self, module: nn.Module, rows: Tensor) -> None:
        """Notify of torch's own kernel on inputs `rows`."""
        weights = [parameter for name, parameter in module.named_parameters() if name.startswith("weight")]
        macs = rows.numel() // rows.shape[-1] * sum(weight.numel() for weight in weights)
        notify_full_precision(self.context.callbacks, self.path, rows, weights[0], macs)


# --- one step ---------------------------------------------------------------------------------------------------------


def lstm_step(gates: Tensor, states: States, state: StepProduct, project: Optional[StepProduct], step: int) -> States:
    """Hochreiter and Schmidhuber 1997, with forget gates, in torch's order of gates: i, f, g, o."""
    h, c = states
    i, f, g, o = (gates + state(h, step)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if project is None else project(h, step)), c


def gru_step(gates: Tensor, states: States, state: StepProduct, project: Optional[StepProduct], step: int) -> States:
    """Cho et al. 2014, in torch's order of gates: r, z, n; r multiplies the state's part of n with its bias."""
    (h,) = states
    (r, z, n), (r_h, z_h, n_h) = gates.chunk(3, -1), state(h, step).chunk(3, -1)
    r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
    n = (n + r * n_h).tanh()
    return ((h - n) * z + n,)


def tanh_step(gates: Tensor, states: States, state: StepProduct, project: Optional[StepProduct], step: int) -> States:
    """Elman 1990."""
    return ((gates + state(states[0], step)).tanh(),)


def relu_step(gates: Tensor, states: States, state: StepProduct, project: Optional[StepProduct], step: int) -> States:
    """The same with ReLU."""
    return ((gates + state(states[0], step)).relu(),)


STEPS = {"LSTM": lstm_step, "GRU": gru_step, "RNN_TANH": tanh_step, "RNN_RELU": relu_step}


# --- layers -----------------------------------------------------------------------------------------------------------


def _direction(
    step: Callable[..., States], gates: Tensor, sizes: Sequence[int], start: States, products: Any, backwards: bool
) -> tuple[Tensor, States]:
    """One direction of one layer: gates of the input (N, G), states (B, H) -> outputs (N, H), last states."""
    state, project = products
    pieces = gates.split(list(sizes))
    outputs: list[Tensor] = []
    if backwards:
        states = tuple(each[: sizes[-1]] for each in start)
        for number, piece in enumerate(reversed(pieces)):
            have = states[0].shape[0]
            if piece.shape[0] > have:  # sequences that end here begin
                states = tuple(
                    torch.cat([each, first[have : piece.shape[0]]]) for each, first in zip(states, start, strict=True)
                )
            states = step(piece, states, state, project, number)
            outputs.append(states[0])
        return torch.cat(outputs[::-1]), states
    states, ended = start, []
    for number, piece in enumerate(pieces):
        if piece.shape[0] < states[0].shape[0]:
            ended.append(tuple(each[piece.shape[0] :] for each in states))
            states = tuple(each[: piece.shape[0]] for each in states)
        states = step(piece, states, state, project, number)
        outputs.append(states[0])
    ended.append(states)
    return torch.cat(outputs), tuple(torch.cat(each) for each in zip(*ended[::-1], strict=True))


class _QRecurrent(nn.RNNBase):
    quantizers: Optional[RecurrentQuantizers]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = None

    def forward(self, input: Union[Tensor, PackedSequence], hx: Any = None, num_bits: Optional[int] = None) -> Any:
        """As torch's forward: `input` (T, B, I), (B, T, I) or (T, I), or packed; `hx`: states to start from."""
        quantizers = self.quantizers
        source: Any = input
        packed = input if isinstance(input, PackedSequence) else None
        if quantizers is None or not quantizers.rounds(num_bits):
            if quantizers is not None and quantizers.context.callbacks:
                quantizers.notify(self, source if packed is None else packed.data)
            return super().forward(input, hx)  # type: ignore[misc]
        is_lstm = self.mode == "LSTM"
        given: Optional[States] = None if hx is None else (tuple(hx) if is_lstm else (hx,))
        if packed is not None:
            x, sizes, order, back = (
                packed.data,
                packed.batch_sizes.tolist(),
                packed.sorted_indices,
                packed.unsorted_indices,
            )
            if given is not None and order is not None:
                given = tuple(each.index_select(1, order) for each in given)
            alone, batch = False, sizes[0]
        else:
            alone, order, back = source.dim() == 2, None, None
            x = source.unsqueeze(0 if self.batch_first else 1) if alone else source
            given = tuple(each.unsqueeze(1) for each in given) if given is not None and alone else given
            x = x.transpose(0, 1) if self.batch_first else x  # (T, B, I)
            length, batch = x.shape[:2]
            x, sizes = x.reshape(length * batch, -1), [batch] * length
        directions = 2 if self.bidirectional else 1
        if given is None:
            features = (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if is_lstm else 1]
            given = tuple(x.new_zeros(self.num_layers * directions, batch, size) for size in features)
        shape = torch.Size((self.num_layers * directions, batch))
        if given[0].shape[:2] != shape:
            raise RuntimeError(
                f"expected hidden states for {tuple(shape)} layers and sequences, got {tuple(given[0].shape)}"
            )
        y, last = self._layers(quantizers, x, sizes, given, num_bits)
        if back is not None:
            last = tuple(each.index_select(1, back) for each in last)
        last = tuple(each.squeeze(1) for each in last) if alone else last
        states = last if is_lstm else last[0]
        if packed is not None:
            return PackedSequence(y, packed.batch_sizes, order, back), states
        y = y.view(length, batch, -1)
        y = y.transpose(0, 1) if self.batch_first else y
        return (y.squeeze(0 if self.batch_first else 1) if alone else y), states

    def _layers(
        self, quantizers: RecurrentQuantizers, x: Tensor, sizes: list[int], start: States, num_bits: Optional[int]
    ) -> tuple[Tensor, States]:
        """All layers: inputs (N, I), states (layers * directions, B, H) -> outputs (N, directions * H), last states."""
        step, last = STEPS[self.mode], []
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        for layer in range(self.num_layers):
            outputs = []
            for direction, suffix in enumerate(suffixes):
                name = f"_l{layer}{suffix}"
                gates, state = (quantizers.product(self, kind + name, num_bits) for kind in ("ih", "hh"))
                project = quantizers.product(self, "hr" + name, num_bits) if self.proj_size else None
                own = tuple(each[layer * len(suffixes) + direction] for each in start)
                y, states = _direction(step, gates(x, 0), sizes, own, (state, project), bool(direction))
                outputs.append(y)
                last.append(states)
            x = torch.cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(torch.stack(each) for each in zip(*last, strict=True))


class QLSTM(_QRecurrent, nn.LSTM):
    """nn.LSTM that takes `num_bits`."""


class QGRU(_QRecurrent, nn.GRU):
    """nn.GRU that takes `num_bits`."""


class QRNN(_QRecurrent, nn.RNN):
    """nn.RNN that takes `num_bits`."""


# --- cells ------------------------------------------------------------------------------------------------------------


class _QCell(nn.RNNCellBase):
    quantizers: Optional[RecurrentQuantizers]
    hidden_size: int

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = None

    def forward(self, input: Tensor, hx: Any = None, num_bits: Optional[int] = None) -> Any:
        """As torch's forward: `input` (B, I) or (I,) -> the next states."""
        quantizers = self.quantizers
        if quantizers is None or not quantizers.rounds(num_bits):
            if quantizers is not None and quantizers.context.callbacks:
                quantizers.notify(self, input)
            return super().forward(input, hx)  # type: ignore[misc]
        is_lstm = isinstance(self, nn.LSTMCell)
        mode = "LSTM" if is_lstm else "GRU" if isinstance(self, nn.GRUCell) else f"RNN_{self.nonlinearity.upper()}"  # type: ignore[union-attr, operator]
        alone = input.dim() == 1
        x = input.unsqueeze(0) if alone else input
        if hx is None:
            states: States = (x.new_zeros(x.shape[0], self.hidden_size),) * (2 if is_lstm else 1)
        else:
            states = tuple(hx) if is_lstm else (hx,)
            states = tuple(each.unsqueeze(0) for each in states) if alone else states
        gates, state = (quantizers.product(self, kind, num_bits) for kind in ("ih", "hh"))
        states = STEPS[mode](gates(x, 0), states, state, None, 0)
        states = tuple(each.squeeze(0) for each in states) if alone else states
        return states if is_lstm else states[0]


class QLSTMCell(_QCell, nn.LSTMCell):
    """nn.LSTMCell that takes `num_bits`."""


class QGRUCell(_QCell, nn.GRUCell):
    """nn.GRUCell that takes `num_bits`."""


class QRNNCell(_QCell, nn.RNNCell):
    """nn.RNNCell that takes `num_bits`."""


QUANTIZED: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: QLSTM,
    nn.GRU: QGRU,
    nn.RNN: QRNN,
    nn.LSTMCell: QLSTMCell,
    nn.GRUCell: QGRUCell,
    nn.RNNCell: QRNNCell,
}
