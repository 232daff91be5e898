"""Config files as fairseq lays them out, read into Hydra's terms.

- `# @package _group_` means the place that a file's folder gives it (today's default), and for the root in the
  config that is run.
- `criterion: masked_lm` is short for `criterion: {_name: masked_lm}`.
- Every component is an option of its slot: `optimizer=adam` needs no file. A file `model/NAME/FILE.yaml` that gives no
  `_name` is about component NAME.
- In a config whose defaults list has no `_self_`, what the list names comes on top, as in the Hydra that fairseq uses.
"""

import os
from typing import Any, List, Optional

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq.dataclass import catalog, schema
from fairseq.errors import ConfigError, reason

MAX_NODES = 100_000
# what reading a file of another shape or encoding ends in
UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, OSError, OmegaConfBaseException, RecursionError,
    TypeError, ValueError,
)  # fmt: skip


class Repository(ConfigRepository):
    """All config files on a search path, and the components that need none."""

    def __init__(self, config_search_path: ConfigSearchPath):
        self.primary: Optional[str] = None  # name of the config that is run
        super().__init__(config_search_path)

    def load_config(self, config_path: str) -> Optional[ConfigResult]:
        try:
            source = self._find_object_source(config_path, ObjectType.CONFIG)
        except (OSError, ValueError) as error:  # no file can have that name
            raise ConfigError(f"defaults list: {config_path!r} is no name of a config ({_reason(error)})") from None
        if source is None:
            return self._component(config_path)
        try:
            _check_file(source, config_path)
            result = source.load_config(config_path)
        except yaml.YAMLError as error:
            raise ConfigError(f"{config_path}.yaml in {source.path}: {_one_line(error)}") from None
        except UNREADABLE as error:
            raise ConfigError(f"{config_path}.yaml in {source.path}: {_reason(error)}") from None
        result.is_schema_source = source is self.sources[-1]
        if not config_path.startswith("hydra/") and isinstance(result.config, DictConfig):
            self._read_as_fairseq(config_path, result)
        try:
            defaults = self._extract_defaults_list(config_path, result.config)
            if config_path == self.primary and len(defaults) > 0 and "_self_" not in defaults:
                defaults.insert(0, "_self_")
            result.defaults_list = self._create_defaults_list(config_path, defaults)
        except UNREADABLE as error:
            raise ConfigError(f"{config_path}.yaml in {source.path}, defaults list: {_reason(error)}") from None
        return result

    def group_exists(self, config_path: str) -> bool:
        return config_path in schema.SLOTS or super().group_exists(config_path)

    def config_exists(self, config_path: str) -> bool:
        return super().config_exists(config_path) or self._component(config_path) is not None

    def get_group_options(self, group_name: str, results_filter: Optional[ObjectType] = ObjectType.CONFIG) -> List[str]:
        options = super().get_group_options(group_name, results_filter)
        if group_name in schema.SLOTS and results_filter != ObjectType.GROUP:
            options = sorted({*options, *schema.components(group_name)})
        return options

    def _component(self, config_path: str) -> Optional[ConfigResult]:
        """The option `slot/name` without a file, or `slot/model/size`, as fairseq's files of sizes are called. Any name
        is accepted here: the typed config checks it.
        """
        slot, _, name = config_path.partition("/")
        folder, _, size = name.rpartition("/")
        if slot not in schema.SLOTS or not name or (folder and size not in catalog.SIZES.get(folder, {})):
            return None
        config = OmegaConf.create({"_name": size})
        result = ConfigResult("fairseq", config_path, config, header={"package": slot if folder else None})
        result.defaults_list = []
        return result

    def _read_as_fairseq(self, config_path: str, result: ConfigResult) -> None:
        package = result.header.get("package")
        if package == "_group_":
            package = None
        if config_path == self.primary and package is None:
            package = "_global_"
        result.header["package"] = package
        if package == "_global_":
            for slot in schema.SLOTS:
                _expand_bare_name(result.config, slot)
        slot, *rest = config_path.split("/")
        nameless = slot in schema.SLOTS and rest and package is None and "_name" not in result.config
        if nameless and (len(rest) > 1 or rest[0] in schema.components(slot)):
            result.config["_name"] = rest[0]


def _expand_bare_name(config: Any, slot: str) -> None:
    value: Any = config._get_node(slot)
    value = value._value() if value is not None else None
    if isinstance(value, str) and value != "???" and "${" not in value:
        config[slot] = {"_name": value}


def _check_file(source: Any, config_path: str) -> None:
    """Raise ValueError for a file that would unfold to far more than it holds: aliases of aliases double each time."""
    if source.scheme() != "file":
        return
    path = os.path.join(source.path, source._normalize_file_name(config_path))
    if not os.path.isfile(path):
        return
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if "&" in text and "*" in text and _nodes(yaml.compose(text, Loader=yaml.SafeLoader), {}) > MAX_NODES:
        raise ValueError(f"its aliases unfold to more than {MAX_NODES:,} values")


def _nodes(node: Any, counted: dict[int, int]) -> int:
    """How many nodes a document has, those that aliases repeat counted each time."""
    if id(node) not in counted:
        counted[id(node)] = 1  # where it contains itself
        parts = node.value if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) else ()
        inner = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        counted[id(node)] = 1 + sum(_nodes(part, counted) for part in inner)
    return counted[id(node)]


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start})"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return reason(error)


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else " ".join(problem.split())
