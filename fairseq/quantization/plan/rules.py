"""Rules: an ordered list that says, by quantizer path, what each quantizer does.

    - {match: "*.fc1.*", bits: 4}                    a glob; `*` also matches dots
    - {match: "re:.*layers\\.(0|11)\\..*", quantize: false}    a regular expression for the whole path
    - {match: "*.grad_output", grad_bits: 6}

Rules are applied in order, each sets the fields it names: the last match wins, field by field. The form is the same in
YAML and in Python. A rule that matches no quantizer, or a field that can have no effect on what its rule matches, is
an error.

Quantizers `on_request` - biases, outputs, inputs of activations and norms, caches of keys - are turned on, by `bits` or
`quantize`, by a rule that matches nothing else (`*.bias`, `*.norm1.*`, `*.cache`), a bias or an output also by a
pattern that ends in its name (`re:.*\\.(input|output)`). `*.input` means the inputs of products, as ever, and `fc1.*`
no bias.

Fields: `bits` (a number pins the bits, `follow` takes the threaded value; implies `quantize: true`), `grad_bits` for
gradients, `quantize`, `format`, `granularity`, `range`, `ste`, `learned`, `rounding`, `compute`, `transform`; values:
`QuantizerSpec`.

>>> rules = read_rules([{"match": "*", "format": "symmetric"}, {"match": "fc1.*", "bits": 4, "grad_bits": 8}])
>>> plan = resolve(rules, {"fc1.weight": "weight", "fc1.grad_output": "gradient", "fc2.weight": "weight"})
>>> plan["fc1.weight"].bits, plan["fc1.grad_output"].bits, plan["fc2.weight"].bits
(4, 8, 'follow')
"""

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Optional, Union

from fairseq.errors import ConfigError, nearest, unknown
from fairseq.quantization.plan.kinds import check_kinds
from fairseq.quantization.spec import CACHE, FOLLOW, GRADIENT, QuantizerSpec


@dataclass(frozen=True)
class Rule:
    """One rule; a field that is None is left as it was. `optional`: the rule may match nothing (for presets)."""

    match: str
    bits: Union[int, str, None] = None
    grad_bits: Union[int, str, None] = None
    quantize: Optional[bool] = None
    format: Union[str, Mapping[str, Any], None] = None
    granularity: Optional[str] = None
    range: Union[str, Mapping[str, Any], None] = None
    ste: Optional[str] = None
    learned: Optional[str] = None
    rounding: Optional[str] = None
    compute: Optional[str] = None
    transform: Optional[str] = None
    optional: bool = False

    def matcher(self) -> Callable[[str], bool]:
        """A predicate on quantizer paths."""
        if not self.match.startswith("re:"):
            return lambda path: fnmatch.fnmatchcase(path, self.match)
        try:
            expression = re.compile(self.match[3:])
        except re.error as error:
            raise ConfigError(f"quantization rule {self.match!r}: not a regular expression: {error}") from None
        return lambda path: expression.fullmatch(path) is not None

    def says_end_of(self, path: str) -> bool:
        """Whether the pattern says that `path` ends in `bias` or `output`, instead of matching it by a wildcard."""
        owner, _, word = path.rpartition(".")
        return word in ("bias", "output") and not self.matcher()(f"{owner}.any".lstrip("."))

    def settings(self) -> dict[str, Any]:
        """The fields that are set, without `match` and `optional`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value for name, value in values.items() if name not in ("match", "optional") and value is not None
        }

    def apply(self, spec: QuantizerSpec, role: str, turns_on: bool = True) -> QuantizerSpec:
        """`spec` of a quantizer that this rule matches, with this rule's settings; without `turns_on` it stays off."""
        changes = {name: value for name, value in self.settings().items() if concerns(name, role)}
        bits = changes.pop("grad_bits" if role == GRADIENT else "bits", None)
        if bits is not None:
            changes["bits"] = _bits(bits, self.match) or (None if role == GRADIENT else spec.bits)
        if self.bits is not None:
            changes.setdefault("quantize", bool(self.bits))  # bits: 0 is full precision
        if not turns_on and not spec.quantize:
            changes.pop("quantize", None)
        return replace(spec, **changes)


def concerns(setting: str, role: str) -> bool:
    """Whether a rule's setting can have an effect on a quantizer of that role."""
    if role == GRADIENT:
        return setting not in ("bits", "ste", "learned")
    if role == CACHE:
        return setting in ("bits", "quantize")
    return setting != "grad_bits"


def _bits(value: Any, where: str) -> Union[int, str, None]:
    """Bits as written in a rule: a whole number or "follow"; 0 is None."""
    if value == FOLLOW:
        return FOLLOW
    if isinstance(value, bool) or not isinstance(value, (int, float)) or int(value) != value:
        raise ConfigError(f"quantization rule {where!r}: bits must be a whole number or {FOLLOW!r}, got {value!r}")
    return int(value) or None


def read_rules(rules: Iterable[Union[Rule, Mapping[str, Any]]]) -> list[Rule]:
    """Rules from mappings (YAML) or `Rule`s; ConfigError for an unknown field."""
    names = [field.name for field in fields(Rule)]
    if isinstance(rules, (str, Mapping, Rule)) or not isinstance(rules, Iterable):
        raise ConfigError(f"quantization.rules: needs a list of rules, [{{match: ...}}, ...], got {rules!r}")
    read = []
    for position, rule in enumerate(rules):
        if isinstance(rule, Rule):
            read.append(rule)
            continue
        if not isinstance(rule, Mapping) or not isinstance(rule.get("match"), str):
            raise ConfigError(f"quantization rule {position}: needs a mapping with `match`, got {rule!r}")
        for name in rule:
            if name not in names:
                raise ConfigError(unknown("field", str(name), names, where=f"quantization rule {rule['match']!r}"))
        check_kinds(Rule, rule, f"quantization rule {rule['match']!r}")  # type: ignore[arg-type]
        read.append(Rule(**{str(name): value for name, value in rule.items()}))
    return read


def resolve(
    rules: Iterable[Rule],
    roles: Mapping[str, str],
    start: Optional[Mapping[str, QuantizerSpec]] = None,
    others: Optional[Mapping[str, str]] = None,
    on_request: Collection[str] = (),
) -> dict[str, QuantizerSpec]:
    """Settings of every quantizer.

    Args:
        rules: in order.
        roles: quantizer path -> role, of every quantizer that the model can have.
        start: settings before the first rule; `QuantizerSpec()` where none are given.
        others: path -> type, of modules that have no quantizers; for messages.
        on_request: quantizers that only a rule turns on which matches no others.

    Raises:
        ConfigError: a rule that matches nothing (names the nearest path) or has a setting without effect.
    """
    specs = {path: (start or {}).get(path, QuantizerSpec()) for path in roles}
    for rule in rules:
        matches = rule.matcher()
        matched = [path for path in roles if matches(path)]
        if not matched:
            if rule.optional:
                continue
            raise ConfigError(_no_match(rule, roles, others or {}))
        for name in rule.settings():
            if not rule.optional and not any(concerns(name, roles[path]) for path in matched):
                other = {"bits": "grad_bits", "grad_bits": "bits"}.get(name)
                hint = f"; use {other}" if other else ""
                raise ConfigError(f"quantization rule {rule.match!r}: {name} has no effect on {matched[0]!r}{hint}")
        # an attention's output has always been there, and is an output like others
        names_them = all(path in on_request or path.endswith(".output") for path in matched)
        for path in matched:
            turns_on = path not in on_request or names_them or rule.says_end_of(path)
            specs[path] = rule.apply(specs[path], roles[path], turns_on)
    return specs


def _no_match(rule: Rule, paths: Iterable[str], others: Mapping[str, str]) -> str:
    pattern, matches, paths = rule.match, rule.matcher(), list(paths)
    line = f"quantization rule {pattern!r} matches no quantizer"
    for path, kind in others.items():
        if any(matches(name) for name in (path, f"{path}.weight", f"{path}.input")):
            return f"{line}; {path!r} is a {kind}, which stays in full precision whatever rules say"
    if not paths:
        return f"{line}; the model has nothing that can be quantized"
    # a pattern's wildcards hide how close it is: compare the literal text
    literal = re.sub(r"[*?\[\]\\^$()|+]", "", pattern.removeprefix("re:")).strip(".")
    guess = nearest(literal, paths) or _most_shared(literal, paths)
    return f"{line}; nearest is {guess!r}"


def _most_shared(literal: str, paths: list[str]) -> str:
    """The path that shares most of its dotted words, or parts of words, with `literal`."""
    words = [word for word in literal.split(".") if word]

    def likeness(path: str) -> float:
        parts = path.split(".")
        return sum(max((_ratio(word, part) for part in parts), default=0.0) for word in words)

    return max(paths, key=likeness)


def _ratio(a: str, b: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, a, b).ratio()
