"""Names of passes: ours, and MASE's for the same.

>>> read_pass("insert_lora_adapter", {"rank": 6, "lora_alpha": 0.5})
[('lora', {'rank': 6, 'alpha': 0.5})]
>>> read_pass("add_common_metadata", {})
[]
>>> read_pass("prune", {"weight": {"sparsity": 0.5}, "activation": {"sparsity": 0.1}})
[('prune', {'weight': {'sparsity': 0.5}}), ('prune_activations', {'sparsity': 0.1})]
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fairseq.errors import ConfigError, unknown

SUMMARY, INPUTS = "summarize_quantization", "prune_activations"
ALIASES = {
    "conv_bn_fusion": "fuse_conv_bn",
    "insert_lora_adapter": "lora",
    "fuse_lora_weights": "fuse_lora",
    "report_node_meta": "report_node_meta_param",
}
# what they prepare or write is always there
WITHOUT_EFFECT = (
    "init_metadata", "add_common_metadata", "add_software_metadata", "add_hardware_metadata", "add_pruning_metadata",
    "save_mase_graph", "save_node_meta_param",
)  # fmt: skip
OPTIONS = {"lora": {"lora_alpha": "alpha", "lora_dropout": "dropout"}}


def read_pass(name: str, options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Our names and options of the passes that are meant: none where it has no effect here, two of MASE's `prune`."""
    if name in WITHOUT_EFFECT:
        return []
    ours = ALIASES.get(name, name)
    words = OPTIONS.get(ours, {})
    found = {words.get(key, key): value for key, value in options.items()}
    if ours == "quantize" and isinstance(found.get("report"), bool):
        del found["report"]  # it is always reported
    activation = found.get("activation")
    if ours == "prune" and isinstance(activation, Mapping):
        # a scope of activations is each layer's own input, whatever it is called
        inputs = {key: value for key, value in activation.items() if (key, value) != ("scope", "local")}
        weights = {key: value for key, value in found.items() if key != "activation"}
        return [(ours, weights), (INPUTS, inputs)][0 if "weight" in found else 1 :]
    return [(ours, found)]


def check_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for a pass that does not exist; names the nearest."""
    known = list(known)
    for name in names:
        if name in WITHOUT_EFFECT or ALIASES.get(name, name) in known or name == SUMMARY:
            continue
        offered = [*known, SUMMARY, *WITHOUT_EFFECT, *(alias for alias, ours in ALIASES.items() if ours in known)]
        raise ConfigError(unknown("pass", name, offered, where=where))
