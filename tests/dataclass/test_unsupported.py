"""Every setting is read by something, or `fairseq.dataclass.unsupported` says that it is not."""

import ast
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from fairseq.dataclass import catalog, schema
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.unsupported import REFUSED, WITHOUT_EFFECT
from fairseq.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
TABLE = {**REFUSED, **WITHOUT_EFFECT}

# what code calls a config, besides the name of its group or slot
CONFIGS = {"cfg", "config", "args"}
ALIASES = {"distributed_training": {"distributed"}, "quantization": {"resolved"}}


def sources() -> Iterator[ast.AST]:
    for folder in ("fairseq", "fairseq_cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT / folder)
            # configs themselves; but transformer.py is also what the model's parts read
            if relative.parts[0] != "dataclass" or relative.name == "transformer.py":
                yield ast.parse(path.read_text(encoding="utf-8"))


class Readings:
    """What code reads by name.

    Attributes:
        owners: attribute -> names of the objects that it is read of.
        texts: names that `getattr`, `get` or a loop over names reads, those with `{side}_` in front included.
        keys: texts that are keys of dicts, which a loop may go over.
        arguments: arguments that their function uses; registries fill them from fields of that name.
    """

    def __init__(self) -> None:
        self.owners: dict[str, set[str]] = {}
        self.texts: set[str] = set()
        self.keys: set[str] = set()
        self.arguments: set[str] = set()
        for tree in sources():
            for node in ast.walk(tree):
                getattr(self, f"see_{type(node).__name__}", lambda node: None)(node)

    def see_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            self.owners.setdefault(node.attr, set()).add(name)

    def see_Call(self, node: ast.Call) -> None:
        if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("getattr", "get"):
            self.texts |= constants(node.args)

    def see_For(self, node: ast.For | ast.comprehension) -> None:
        if isinstance(node.iter, (ast.Tuple, ast.List)):
            self.texts |= constants(node.iter.elts)

    see_comprehension = see_For

    def see_JoinedStr(self, node: ast.JoinedStr) -> None:
        rest = constants(node.values[1:])
        if len(node.values) == 2 and rest:
            self.texts |= {side + text for text in rest for side in ("encoder", "decoder")}

    def see_Dict(self, node: ast.Dict) -> None:
        self.keys |= constants(node.keys)

    def see_FunctionDef(self, node: ast.FunctionDef) -> None:
        own = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        self.arguments |= own & {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def constants(nodes: Iterable[ast.AST | None]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def unread() -> set[str]:
    """`group.field` of every field that nothing reads, neither by itself nor through a field that follows it."""
    seen = Readings()
    declared = [(group, key, field) for group, dc in schema.GROUPS.items() for key, field in schema.keys_of(dc).items()]
    for slot in schema.SLOTS:
        for dc in catalog.group(slot).values():
            declared += [(slot, key, field) for key, field in schema.keys_of(dc).items()]
    read = {(group, key) for group, key, _ in declared if is_read(seen, group, key)}
    read |= {schema.followed(schema.default_of(field)) for group, key, field in declared if (group, key) in read}
    return {f"{group}.{key}" for group, key, _ in declared if (group, key) not in read}


def is_read(seen: Readings, group: str, key: str) -> bool:
    owners = seen.owners.get(key, set())
    names = {group, f"{group}_cfg", f"_{group}", *CONFIGS} | ALIASES.get(group, set())
    if owners & names or key in seen.texts:
        return True
    if group in schema.GROUPS:
        return False
    # components get fields as arguments and keep them; a transformer's stacks have them without their prefix
    section, _, inner = key.partition("_")
    sectioned = section in ("encoder", "decoder") and bool(seen.owners.get(inner, set()) & {section, "self"})
    return sectioned or key in seen.arguments or key in seen.keys or "self" in owners


def listed(path: str) -> bool:
    return path in TABLE or path.partition(".")[0] in TABLE


def test_every_field_is_read_or_listed():
    silent = sorted(path for path in unread() if not listed(path))
    assert not silent, f"nothing reads {', '.join(silent)}: read them, or list them in fairseq/dataclass/unsupported.py"


def test_the_table_is_about_fields_that_exist():
    for path in TABLE:
        group, _, key = path.partition(".")
        classes = [schema.GROUPS[group]] if group in schema.GROUPS else catalog.group(group).values()
        assert not key or any(key in schema.keys_of(dataclass) for dataclass in classes), path
    assert not set(REFUSED) & set(WITHOUT_EFFECT)


def test_the_scan_finds_what_is_known_to_be_unread():
    """It would pass for ever if it found nothing."""
    found = unread()
    for path in ("common.profile", "distributed_training.zero_sharding", "optimization.use_bmuf"):
        assert path in found


OTHERS = {
    "common.quantization_config_path": "nope.yaml",
    "common.model_parallel_size": "4",
    "generation.decoding_format": "vote",
    **{f"generation.{name}_mt": "3" for name in ("beam", "max_len_a", "max_len_b", "lenpen")},
    "checkpoint.model_parallel_size": "4",
    "model.base_layers": "2",
}


OWNERS = {
    "optimizer.dynamic_groups": "optimizer=composite",
    **{
        f"task.{name}": "task=multilingual_language_modeling"
        for name in ("baseline_model", "baseline_model_langs", "lang_to_offline_shard_ratio")
    },
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_changes_results_is_refused(path):
    with pytest.raises(ConfigError, match=rf"^{path}=\S+ is not supported \(.*\); leave it out$"):
        # the component that has the field, where not all have it
        owner = OWNERS.get(path) or ("model=transformer_lm" if path.startswith("model.") else None)
        chosen = [] if owner is None else [owner]
        compose(overrides=[*chosen, f"{path}={OTHERS.get(path, 'true')}"], check=False)


def test_what_is_harmless_is_said_once_by_name(caplog):
    words = [
        "common.profile=true",
        "generation.beam=7",
        "generation.lenpen=0.5",
        "distributed_training.cpu_offload=true",
    ]
    words += ["model=roberta", "model.min_params_to_wrap=3"]
    compose(overrides=words, check=False)
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(lines) == [
        "common.profile=True has no effect: use torch.profiler around the command",
        "distributed_training.cpu_offload=True, model.min_params_to_wrap=3 have no effect: "
        "only ddp_backend=fully_sharded would read it, which is not supported",
        "generation.beam=7, generation.lenpen=0.5 have no effect: "
        "only commands that generate or score text would read it",
    ]


def test_defaults_spelt_out_and_followed_fields_are_silent(caplog):
    words = [f"{group}.{key}={value}" for group, key, value in plain_defaults() if f"{group}.{key}" in TABLE]
    assert len(words) > 20
    compose(overrides=[*words, "common.fp16=true", "criterion=masked_lm", "optimizer=adam"], check=False)
    assert not caplog.records


def plain_defaults() -> Iterator[tuple[str, str, object]]:
    for group, dataclass in schema.GROUPS.items():
        for key, declared in schema.keys_of(dataclass).items():
            value = schema.default_of(declared)
            if isinstance(value, (bool, int, float)):
                yield group, key, value


FILES = sorted((Path(__file__).parent / "fixtures" / "fairseq_yaml").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_fairseqs_own_files_run_without_a_word(file, caplog):
    given = yaml.safe_load(file.read_text())
    assert "common" in given
    compose(file.stem, file.parent, check=False)
    assert not [record.message for record in caplog.records if "no effect" in record.message]


def test_a_checkpoint_may_tell_of_such_settings(caplog):
    """How weights came about does not matter to who loads them."""
    from fairseq.checkpoint.config import typed

    cfg = typed({"optimization": {"use_bmuf": True, "lr": [-1.0]}, "common": {"profile": True}}, "model.pt")
    assert cfg.optimization.use_bmuf and cfg.optimization.lr == [-1.0] and not caplog.records
