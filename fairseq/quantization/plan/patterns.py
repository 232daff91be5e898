"""Patterns: which parts of a transformer are quantized, in one word.

| pattern | projections | products of attention | feed-forward | classifier |
| --- | --- | --- | --- | --- |
| `mha` | all | all | | |
| `ffn` | | | both layers | |
| `cls` | | | | yes |
| `all` | all | all | both layers | yes |
| `all_qk` | of query and key | query, key | both layers | yes |
| `all_qv` | of query and value | query, value | both layers | yes |
| `all_kv` | of key and value | key, value | both layers | yes |

What the pattern leaves out stays in full precision, and so does the model's last layer where the pattern takes the
classifier, unless `keep_last` is false. Language model heads and embeddings stay as they are in the preset. Rules of
the user come behind and win.

Parts are told by the names that libraries give them: attention by `attn` or `attention`, its projections by q, k and v
(`q_proj`, `query`, `q_lin`, ...), feed-forward layers by `fc1`, `linear1`, `mlp` and others, the classifier by
`classification_heads`, `classifier`, `pooler` and others.

>>> takes("all_qk", "layers.0.self_attn.k_proj.weight"), takes("all_qk", "layers.0.self_attn.v_proj.weight")
(True, False)
"""

import re
from collections.abc import Collection, Sequence
from typing import Optional

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.plan.rules import Rule

PATTERNS = ("mha", "ffn", "cls", "all", "all_qk", "all_qv", "all_kv")
_ATTENTION = r"(?:.*\.)?\w*(?:attn|attention)\w*\..*"
_FFN = r"(?:.*\.)?(?:fc[12]|linear[12]|lin[12]|mlp|ffn|feed_?forward|intermediate|w[123])(?:\..*)?\.\w+"
_CLS = r"(?:.*\.)?(?:classification_heads?|classifier|pre_classifier|pooler|score)\b.*"
_LANGUAGE_HEADS = r"(?:.*\.)?(?:lm_head|output_projection|adaptive_softmax)\b.*"
_LETTERS = {"q": "query", "k": "key", "v": "value"}
HEADS = ("cls", "all", "all_qk", "all_qv", "all_kv")  # patterns that take the classifier


def _projections(letters: str) -> str:
    words = "|".join(f"{letter}_proj|{letter}_lin|{letter}|{_LETTERS[letter]}" for letter in letters)
    return rf"(?:.*\.)?\w*(?:attn|attention)\w*(?:\.\w+)*?\.(?:{words})(?:\.\w+)?"


def expression(pattern: str) -> str:
    """A regular expression for the quantizers that `pattern` takes; ConfigError for one that is not there."""
    parts = {"mha": [_ATTENTION], "ffn": [_FFN], "cls": [_CLS], "all": [_ATTENTION, _FFN, _CLS]}
    for letters in ("qk", "qv", "kv"):
        parts[f"all_{letters}"] = [_projections(letters), _FFN, _CLS]
    if pattern not in parts:
        raise ConfigError(unknown("pattern", str(pattern), PATTERNS, where="quantization"))
    return f"(?:{'|'.join(parts[pattern])})"


def takes(pattern: str, path: str) -> bool:
    """Whether `pattern` takes the quantizer at `path`."""
    is_head = re.fullmatch(_LANGUAGE_HEADS, path) is not None
    return not is_head and re.fullmatch(expression(pattern), path) is not None


def pattern_rules(pattern: str) -> list[Rule]:
    """Rules behind those of a preset, which turn off what the pattern leaves out."""
    return [Rule(f"re:(?!{expression(pattern)}$).*", quantize=False, optional=True)]


def check_pattern(pattern: str, paths: Collection[str]) -> None:
    """ConfigError where the pattern takes none of the quantizers at `paths`."""
    if not any(takes(pattern, path) for path in paths):
        has = [name for name in PATTERNS[:3] if any(takes(name, path) for path in paths)]
        known = (
            f"the model has parts for {', '.join(has)}" if has else "none of its layers has a name that patterns know"
        )
        raise ConfigError(
            f"quantization.pattern={pattern} matches no quantizer of the model: {known}; name layers by rules instead"
        )


def last_layer(owners: Sequence[str]) -> Optional[str]:
    """The path of the last layer that multiplies: of the classifier where there is one."""
    heads = [path for path in owners if re.fullmatch(_CLS, f"{path}.weight")]
    others = [path for path in owners if not re.fullmatch(_LANGUAGE_HEADS, f"{path}.weight")]
    found = heads or others
    return found[-1] if found else None
