"""BERT's initialisation (Devlin et al., arXiv:1810.04805): weights ~ N(0, 0.02^2), biases and padding zero.

>>> layer = nn.Linear(4, 4)
>>> init_bert_params(layer)
>>> layer.bias.tolist()
[0.0, 0.0, 0.0, 0.0]
"""

from torch import nn

from fairseq.modules.multihead_attention import MultiheadAttention


def init_bert_params(module: nn.Module) -> None:
    """Initialise one module; for use with `model.apply(init_bert_params)`.

    Attention's q, k and v are drawn once as Linear layers and again as part of their attention, as in fairseq: the
    order of draws decides the weights that a seed gives.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
    elif isinstance(module, MultiheadAttention):
        for projection in (module.q_proj, module.k_proj, module.v_proj):
            nn.init.normal_(projection.weight, mean=0.0, std=0.02)
