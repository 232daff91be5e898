"""Named sizes: configs like another one with other defaults.

>>> from fairseq.dataclass.recurrent_models import LSTMConfig
>>> sized("Small", "A test's.", LSTMConfig, encoder_embed_dim=8)().encoder_embed_dim
8
"""

from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, make_dataclass
from typing import Any

from fairseq.dataclass.base import option


def sized(class_name: str, doc: str, base: Any, **defaults: Any) -> Any:
    """A subclass of the config `base` with other defaults.

    Args:
        class_name: its name.
        doc: its docstring.
        defaults: by field of `base`.
    """
    declared = {key.name: key for key in fields(base)}
    keys = []
    for name, value in defaults.items():
        metadata = declared[name].metadata
        # a switch whose default is on can still be given on the command line, as fairseq's sizes allow
        const = True if declared[name].type is bool and value is True else metadata.get("argparse_const")
        new = option(
            value, metadata["help"], within=metadata.get("within"), const=const, valued=metadata.get("valued", False)
        )
        keys.append((name, declared[name].type, new))
    assert all(key.default is not NO_DEFAULT or key.default_factory is not NO_DEFAULT for _, _, key in keys)
    return make_dataclass(class_name, keys, bases=(base,), namespace={"__doc__": doc, "__module__": base.__module__})
