"""RoBERTa with a classification head as an ONNX graph, layer by layer from its modules.

    graph, points = build(model, "sentence_classification_head", opset=21)

Input `tokens`, int64 (batch, sequence), padded as in training; output `logits`, fp32 (batch, classes). Both sizes are
free. Padding is masked as in the model. Tensors are batch x time x channel (B, T, C), heads (B, H, T, D).

A module with a forward that is not ours would be written as if it were: it is refused.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Optional, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import CheckpointError
from fairseq.export.activations import Activations
from fairseq.export.graph import Graph
from fairseq.export.reading import classifier
from fairseq.export.weights import Weight, bias_values
from fairseq.models.roberta import RobertaEncoder, RobertaModel
from fairseq.models.roberta.heads import RobertaClassificationHead
from fairseq.models.transformer.transformer_encoder import TransformerEncoderBase
from fairseq.modules.activations import gelu, gelu_accurate, gelu_fast, linear, relu_squared
from fairseq.modules.learned_positional_embedding import LearnedPositionalEmbedding
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayerBase
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.quantizer import Quantizer

OURS = (
    RobertaModel, RobertaEncoder, TransformerEncoderBase, TransformerEncoderLayerBase, MultiheadAttention,
    RobertaClassificationHead,
)  # fmt: skip


class Point(NamedTuple):
    """Names of a quantizer's codes and values in the graph, how much larger these codes are (`activations.Names`), and
    how they lie in the model: a key of `LAYOUTS`.
    """

    codes: str
    values: str
    shift: int
    layout: str


class Layout(NamedTuple):
    """From the model's tensor to the graph's, given the number of heads, and back."""

    to_graph: Callable[[Tensor, int], Tensor]
    to_model: Callable[[Tensor], Tensor]


LAYOUTS: dict[str, Layout] = {
    "same": Layout(lambda x, heads: x, lambda x: x),
    "time first": Layout(lambda x, heads: x.transpose(0, 1), lambda x: x.transpose(0, 1)),  # (T, B, C)
    "heads": Layout(lambda x, heads: x.unflatten(0, (-1, heads)), lambda x: x.flatten(0, 1)),  # (B*H, T, D)
    "transposed heads": Layout(  # (B*H, D, T)
        lambda x, heads: x.unflatten(0, (-1, heads)).mT, lambda x: x.flatten(0, 1).mT
    ),
}


def build(model: RobertaModel, head: str, opset: int) -> tuple[Graph, dict[str, Point]]:
    """The graph, and the activation quantizers in it by path.

    Raises:
        CheckpointError: a module that is not one of fairseq's. ConfigError: a quantizer that ONNX cannot express.
    """
    writer = Writer(model, Graph(opset))
    features = writer.encoder(model.encoder.sentence_encoder, "encoder.sentence_encoder")
    writer.head(classifier(model, head), f"classification_heads.{head}", features)
    points = {path: Point(*names, writer.layouts[path]) for path, names in writer.activations.found.items()}
    return writer.graph, points


class Writer:
    """Writes modules as nodes; each method takes and returns names of values.

    Attributes:
        layouts: quantizer path -> key of `LAYOUTS`.
    """

    def __init__(self, model: RobertaModel, graph: Graph):
        for path, module in model.named_modules():
            for kind in OURS:
                if isinstance(module, kind) and type(module).forward is not kind.forward:
                    where = f"{path or 'the model'}: {type(module).__name__}"
                    raise CheckpointError(f"{where} has a forward of its own, which cannot be exported")
        self.graph = graph
        self.activations = Activations(graph)
        self.layouts: dict[str, str] = {}

    def round(self, owner: Any, name: str, x: str, layout: str) -> str:
        """`x` behind the quantizer `name` of `owner.quantizers`."""
        quantizers = getattr(owner, "quantizers", None)
        quantizer: Optional[Quantizer] = None if quantizers is None else quantizers._modules.get(name)
        if quantizer is None:
            return x
        self.layouts[quantizer.path] = layout
        return self.activations(quantizer, x, quantizer.bits(quantizer.context.default_bits))

    def linear(
        self, layer: nn.Module, path: str, x: str, layout: str = "time first", name: Optional[str] = None
    ) -> str:
        if not isinstance(layer, nn.Linear) or type(layer).forward not in (nn.Linear.forward, QLinear.forward):
            raise CheckpointError(f"{path}: {type(layer).__name__} is no linear layer that can be exported")
        x = self.round(layer, "input", x, layout)
        weight = Weight.of(layer, path).write_transposed(self.graph, alone=x not in self.activations.dequantized)
        own: Any = getattr(layer, "quantizers", None)
        if own is not None and "output" in own._modules:
            y = self.round(layer, "output", self._with_bias(layer, path, x, weight, None), layout)
            return y if name is None else self.graph.add("Identity", y, name=name)
        return self._with_bias(layer, path, x, weight, name)

    def _with_bias(self, layer: nn.Linear, path: str, x: str, weight: str, name: Optional[str]) -> str:
        if layer.bias is None:
            return self.graph.add("MatMul", x, weight, name=name)
        bias = self.graph.constant(f"{path}.bias", bias_values(layer))
        return self.graph.add("Add", self.graph.add("MatMul", x, weight), bias, name=name)

    def norm(self, layer: nn.LayerNorm, path: str, x: str) -> str:
        weights = [self.graph.constant(f"{path}.{name}", getattr(layer, name)) for name in ("weight", "bias")]
        return self.graph.add("LayerNormalization", x, *weights, axis=-1, epsilon=layer.eps)

    def activation(self, function: Any, x: str) -> str:
        """An activation function of `fairseq.modules.activations`."""
        graph, number = self.graph, self.graph.number
        if function in (gelu, F.gelu):  # x / 2 * (1 + erf(x / sqrt 2))
            inner = graph.add("Erf", graph.add("Div", x, number(2**0.5)))
        elif function in (gelu_accurate, gelu_fast):
            cube = graph.add("Mul", graph.add("Mul", x, x), graph.add("Mul", x, number(0.044715)))
            inner = graph.add("Tanh", graph.add("Mul", graph.add("Add", x, cube), number((2 / torch.pi) ** 0.5)))
        else:
            return self._simple_activation(function, x)
        return graph.add("Mul", graph.add("Mul", x, graph.add("Add", inner, number(1.0))), number(0.5))

    def _simple_activation(self, function: Any, x: str) -> str:
        if function is linear:
            return x
        if function is F.silu:
            return self.graph.add("Mul", x, self.graph.add("Sigmoid", x))
        if function is torch.tanh:
            return self.graph.add("Tanh", x)
        if function not in (F.relu, relu_squared):
            raise CheckpointError(f"the activation {getattr(function, '__name__', function)} cannot be exported")
        x = self.graph.add("Relu", x)
        return self.graph.add("Mul", x, x) if function is relu_squared else x

    # --- the encoder ----------------------------------------------------------------------------------------------

    def encoder(self, encoder: TransformerEncoderBase, path: str) -> str:
        """Features (B, T, C) of the graph's input `tokens`."""
        graph = self.graph
        pad = graph.add("Equal", "tokens", graph.number(encoder.padding_idx, torch.int64))  # (B, T)
        x = graph.add("Gather", Weight.of(encoder.embed_tokens, f"{path}.embed_tokens").write(graph), "tokens")
        if encoder.embed_scale != 1.0:
            x = graph.add("Mul", x, graph.number(encoder.embed_scale))
        if encoder.embed_positions is not None:
            x = graph.add("Add", x, self._positions(encoder, f"{path}.embed_positions", pad))
        if encoder.layernorm_embedding is not None:
            x = self.norm(encoder.layernorm_embedding, f"{path}.layernorm_embedding", x)
        if encoder.quant_noise is not None:
            x = self.linear(encoder.quant_noise, f"{path}.quant_noise", x, "same")
        x = graph.add("Where", graph.add("Unsqueeze", pad, graph.integers(2)), graph.number(0.0), x)
        lowest = graph.number(torch.finfo(torch.float32).min / 2)
        mask = graph.add("Where", graph.add("Unsqueeze", pad, graph.integers(1, 2)), lowest, graph.number(0.0))
        for number, layer in enumerate(encoder.layers):
            x = self.layer(cast(TransformerEncoderLayerBase, layer), f"{path}.layers.{number}", x, mask)
        return x if encoder.layer_norm is None else self.norm(encoder.layer_norm, f"{path}.layer_norm", x)

    def _positions(self, encoder: TransformerEncoderBase, path: str, pad: str) -> str:
        graph = self.graph
        real = graph.add("Cast", graph.add("Not", pad), to=graph.onnx.TensorProto.INT64)
        counted = graph.add("Mul", graph.add("CumSum", real, graph.number(1, torch.int64)), real)
        rows = graph.add("Add", counted, graph.number(encoder.padding_idx, torch.int64))
        positions = encoder.embed_positions
        if isinstance(positions, LearnedPositionalEmbedding):
            return graph.add("Gather", Weight.of(positions, path).write(graph), rows)
        assert positions is not None
        size = encoder.max_source_positions + encoder.padding_idx + 1
        table = positions.get_embedding(size, positions.embedding_dim, encoder.padding_idx)
        return graph.add("Gather", graph.constant(f"{path}.weight", table), rows)

    def layer(self, layer: TransformerEncoderLayerBase, path: str, x: str, mask: str) -> str:
        """One layer; `mask` (B, 1, 1, T) is added to the scores."""
        for block, norm in ((self.attention, "self_attn_layer_norm"), (self.feed_forward, "final_layer_norm")):
            module = getattr(layer, norm)
            y = self.norm(module, f"{path}.{norm}", x) if layer.normalize_before else x
            x = self.graph.add("Add", x, block(layer, path, y, mask))
            x = x if layer.normalize_before else self.norm(module, f"{path}.{norm}", x)
        return x

    def feed_forward(self, layer: TransformerEncoderLayerBase, path: str, x: str, mask: str) -> str:
        x = self.activation(layer.activation_fn, self.linear(layer.fc1, f"{path}.fc1", x))
        return self.linear(layer.fc2, f"{path}.fc2", x)

    def attention(self, layer: TransformerEncoderLayerBase, path: str, x: str, mask: str) -> str:
        attention, path, graph = layer.self_attn, f"{path}.self_attn", self.graph
        if attention.bias_k is not None or attention.add_zero_attn:
            raise CheckpointError(f"{path}: extra keys (add_bias_kv, add_zero_attn) cannot be exported")
        q, k, v = (
            self.linear(getattr(attention, f"{name}_proj"), f"{path}.{name}_proj", x) for name in ("q", "k", "v")
        )
        q = graph.add("Mul", q, graph.number(attention.scaling))
        split = graph.integers(0, 0, attention.num_heads, attention.head_dim)
        q, k, v = (graph.add("Transpose", graph.add("Reshape", y, split), perm=[0, 2, 1, 3]) for y in (q, k, v))
        q, k = self.round(attention.qk_matmul, "left", q, "heads"), self.round(attention.qk_matmul, "right", k, "heads")
        scores = graph.add("MatMul", q, graph.add("Transpose", k, perm=[0, 1, 3, 2]))  # (B, H, T, T)
        probs = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
        probs = self.round(attention.pv_matmul, "left", probs, "heads")
        v = self.round(attention.pv_matmul, "right", v, "transposed heads")
        context = self.round(attention.pv_matmul, "result", graph.add("MatMul", probs, v), "heads")
        context = graph.add("Transpose", context, perm=[0, 2, 1, 3])
        context = graph.add("Reshape", context, graph.integers(0, 0, attention.embed_dim))
        return self.linear(attention.out_proj, f"{path}.out_proj", context)

    # --- the head -------------------------------------------------------------------------------------------------

    def head(self, head: RobertaClassificationHead, path: str, features: str) -> str:
        """The graph's output `logits` (B, classes)."""
        first = self.graph.add("Gather", features, self.graph.number(0, torch.int64), axis=1)  # (B, C)
        x = self.activation(head.activation_fn, self.linear(head.dense, f"{path}.dense", first, "same"))
        return self.linear(head.out_proj, f"{path}.out_proj", x, "same", name="logits")
