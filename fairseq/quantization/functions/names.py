"""Functions of torch by name: which of them multiply and add.

>>> import torch
>>> function_name(torch.Tensor.matmul), function_name(torch.Tensor.add_), function_name(torch.ops.aten.mm.default)
('matmul', 'add', 'mm')
"""

from typing import Any

# functions that multiply and add, by the names under which a function mode sees them, without underscores
# fmt: off
PRODUCTS = frozenset((
    "linear", "matmul", "rmatmul", "imatmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "addmm", "addmv", "addbmm",
    "baddbmm", "einsum", "tensordot", "chain_matmul", "linalg_matmul", "linalg_multi_dot", "linalg_vecdot", "sparse_mm",
    "smm", "hspmm", "scaled_mm", "int_mm", "grouped_mm", "scaled_grouped_mm", "bilinear", "cdist", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "conv_tbc", "convolution",
    "scaled_dot_product_attention", "multi_head_attention_forward", "flex_attention", "lstm", "gru", "rnn_tanh",
    "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
))
# fmt: on
SUMS = frozenset(("add", "mul"))  # element by element; quantized on request
_SAME = {
    "rmatmul": "matmul",
    "imatmul": "matmul",
    "multiply": "mul",
    "linalg_matmul": "matmul",
}  # names of one function


def function_name(function: Any) -> str:
    """The name of what a function mode sees."""
    name = getattr(function, "__name__", "").partition(".")[0].strip("_")
    return _SAME.get(name, name)
