"""Hydra's config loader with fairseq's rules: see `repository.py`, `overrides.py` and `places.py`.

Everything that Hydra does - one run, sweeps and their jobs, `--cfg`, `--info`, completion - gets from the loader its
config, and so gets the typed one.
"""

import difflib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, List, Optional, Tuple

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

import fairseq
from fairseq.dataclass import catalog, schema
from fairseq.dataclass.compose import overrides, places
from fairseq.dataclass.compose.repository import Repository
from fairseq.dataclass.finish import check_complete
from fairseq.dataclass.typed import as_mapping, typed_config
from fairseq.errors import ConfigError, unknown

logger = logging.getLogger("fairseq.config")

PACKAGED = Path(fairseq.__file__).parent / "config"


def search_path(config_dir: Optional[str] = None) -> ConfigSearchPath:
    """Where config files are looked for: the given folder, then those that come with fairseq."""
    path = create_config_search_path(None)
    schema_source = path.get_path().pop()
    if config_dir is not None:
        try:
            os.listdir(config_dir)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(f"there is no config folder {config_dir}") from None
        except OSError as error:
            raise ConfigError(f"cannot read the config folder {config_dir}: {error.strerror}") from None
        path.append("command-line", f"file://{os.path.abspath(config_dir)}")
    path.append("main", f"file://{PACKAGED}")
    path.get_path().append(schema_source)
    return path


class Loader(ConfigLoaderImpl):
    """Composes typed configs.

    Args:
        config_search_path: see `search_path`.
        job: the configs are for jobs that Hydra runs, so outputs are placed in Hydra's folders.
        check: called with the config of each job before it starts; raises ConfigError where something is missing.
    """

    def __init__(self, config_search_path: ConfigSearchPath, *, job: bool = False, check: Any = check_complete):
        _prepare_hydra()
        super().__init__(config_search_path)
        self.repository: Repository = Repository(config_search_path)
        self.job = job
        self.check = check
        self._sweep = False
        self._words: List[Override] = []
        self._said: set[str] = set()

    def load_configuration(
        self,
        config_name: Optional[str],
        overrides: List[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        if config_name is not None:
            self._find_primary(config_name)
        try:
            loaded = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        except MissingConfigException as error:
            group, _, option = (error.missing_cfg_file or "").rpartition("/")
            line = unknown(group, option, error.options or ()) if group else _one_line(error)
            if group.startswith("hydra/"):
                line += "; others come with plugins such as hydra-submitit-launcher or hydra-optuna-sweeper"
            raise ConfigError(line) from None
        except HydraException as error:
            raise ConfigError(_one_line(error)) from None
        if config_name is None:  # Hydra's own help
            return loaded
        if run_mode == RunMode.MULTIRUN and any(word.is_sweep_override() for word in self._words):
            return loaded  # complete only with the values of a job, and checked then
        return self._typed(loaded)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: List[str]) -> DictConfig:
        self._sweep = True
        try:
            cfg = super().load_sweep_config(master_config, sweep_overrides)
        finally:
            self._sweep = False
        self.check(cfg)
        return cfg

    def _parse_overrides_and_create_caching_repo(
        self, config_name: Optional[str], words: List[str]
    ) -> Tuple[List[Override], CachingConfigRepository]:
        repository = CachingConfigRepository(self.repository)
        parsed = overrides.read(words, loader=self)
        self._process_config_searchpath(config_name, parsed, repository)
        listed: Mapping[str, Any] = {}
        if any(repository.group_exists(word.key_or_group) for word in parsed):
            listed = create_defaults_list(repository, config_name, [], False, True).overrides.known_choices
        self._words = parsed
        return overrides.adapt(parsed, repository, listed), repository

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
        cfg = super()._compose_config_from_defaults_list(defaults, repo)
        for word in self._words:
            group, _, key = word.key_or_group.rpartition(".")
            node: Any = OmegaConf.select(cfg, group, throw_on_missing=False) if group and word.is_delete() else None
            child = node._get_node(key) if isinstance(node, DictConfig) and not node._is_none() else None
            if child is not None and (child._is_missing() or child._is_none()):
                node[key] = (
                    ""  # Hydra, which is about to delete it, takes a key without a value for one that is not there
                )
        return cfg

    def _find_primary(self, config_name: str) -> None:
        self.repository.primary = config_name
        if not self.repository.config_exists(config_name):
            folders = [Path(source.path) for source in self.repository.get_sources() if source.scheme() == "file"]
            names = [file.stem for folder in folders[:1] for file in sorted(folder.glob("*.yaml"))]
            close = difflib.get_close_matches(config_name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}" if names else ""
            raise ConfigError(f"no config {config_name!r} in {folders[0]}{hint}")

    def _typed(self, loaded: DictConfig) -> DictConfig:
        hydra = loaded.hydra
        with open_dict(loaded):
            del loaded["hydra"]
        given: Any = OmegaConf.to_container(loaded, resolve=False)
        _import_plugins(given)
        self._drop_foreign(given)
        cfg = typed_config(given)
        self._mention_open_keys(given, cfg)
        if self.job:
            places.place(cfg, given, sweep=self._sweep, chdir=bool(hydra.job.chdir))
            save_dir = as_mapping(cfg.checkpoint)["save_dir"]
            if self._sweep and os.path.isabs(save_dir) and "${" not in save_dir:
                self._say(
                    f"all jobs of this sweep save to {save_dir}, over each other; give a relative checkpoint.save_dir, "
                    "or one with ${hydra:job.num}"
                )
        with open_dict(cfg), flag_override(cfg, "no_deepcopy_set_nodes", True):
            cfg["hydra"] = hydra
        return cfg

    def _drop_foreign(self, given: dict[str, Any]) -> None:
        """Where words choose another component than the file, the file's keys that belong to the old one go."""
        kept = overrides.given_keys(self._words)
        for slot in overrides.chosen_slots(self._words):
            node = given.get(slot)
            if not isinstance(node, dict):
                continue
            name = node.get("_name")
            dataclass = schema.dataclass_of(slot, name) if name else None
            if dataclass is None:
                continue
            own = {"_name", *schema.keys_of(dataclass)}
            known = {key for other in catalog.group(slot).values() for key in schema.keys_of(other)}
            for key in [key for key in node if key not in own and key in known and f"{slot}.{key}" not in kept]:
                del node[key]
                self._say(f"{slot}={name}: {slot}.{key} of the config file does not belong to it and is left out")

    def _mention_open_keys(self, given: Mapping[str, Any], cfg: DictConfig) -> None:
        """A file's `???` says that a key should be given; where it was not and has a default, that is worth a line."""
        for group, values in given.items():
            for key, value in values.items() if isinstance(values, Mapping) else ():
                if schema.is_missing(value) and not OmegaConf.is_missing(cfg[group], key):
                    self._say(f"{group}.{key} is not given; taking its default, {cfg[group][key]}")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            logger.warning(line)


def _prepare_hydra() -> None:
    """What Hydra keeps for the whole process: resolvers, and which version's rules hold."""
    setup_globals()
    OmegaConf.register_new_resolver("env", _environment, replace=True)
    version.setbase("1.3")


def _environment(name: str, *default: str) -> str:
    """`${env:X}` and `${env:X,default}`."""
    if name in os.environ:
        return os.environ[name]
    if not default:
        raise ConfigError(f"the environment variable {name} is not set")
    return default[0]


def _import_plugins(given: Mapping[str, Any]) -> None:
    common = given.get("common")
    user_dir = common.get("user_dir") if isinstance(common, Mapping) else None
    if user_dir and not schema.is_missing(user_dir):
        from fairseq.plugins import import_user_module

        value = OmegaConf.create({"user_dir": user_dir}).user_dir  # resolves ${env:...}
        import_user_module(OmegaConf.create({"user_dir": os.path.expanduser(value)}))


def _one_line(error: BaseException) -> str:
    foreign = re.search(r"In '(.*?)':.*Key '(\w+)' not in 'Basic(Launcher|Sweeper)Conf'", str(error), re.DOTALL)
    if foreign is not None:
        where, key, kind = foreign.groups()
        kind = kind.lower()
        return f"{where}: hydra.{kind}.{key} belongs to another {kind}; choose it with hydra/{kind}=NAME"
    return " ".join(f"{error} {error.__cause__ or ''}".split())
