"""What passes there are, what each does and its options: from their docstrings and signatures, one's own included.

A pass says what it does in the first line of its docstring. Its options stand there under `Options:`, or are arguments
of a function, which `options_of` names, with that function's `Args:` and defaults.

>>> [row["option"] for row in option_rows("remove")], option_rows("remove")[1]["default"]
(['pattern', 'by'], '"type"')
>>> next(row for row in pass_rows() if row["pass"] == "fuse_conv_bn")["also called"]
'conv_bn_fusion'
"""

import inspect
import json
import re
from typing import Any

from fairseq.graph.config.pass_names import ALIASES, OPTIONS, SUMMARY, WITHOUT_EFFECT
from fairseq.graph.passes.registry import OPTIONS_OF, PASSES

NO_OPTIONS = ("model", "graph", "inputs", "config", "calibration", "node", "new", "scores")  # Python's only
ALWAYS = f"{SUMMARY}: all changes up to there. Nothing to do here for {', '.join(WITHOUT_EFFECT)}."


def pass_rows() -> list[dict[str, str]]:
    """A row for each pass: its name, MASE's or another name for the same, the first line of its docstring."""
    return [{"pass": name, "also called": ", ".join(other_names(name)), "does": text(name)[0]} for name in PASSES]


def other_names(name: str) -> list[str]:
    """Further names under which a file may have the pass."""
    mase = [alias for alias, ours in ALIASES.items() if ours == name]
    return list(dict.fromkeys([*PASSES.aliases(name), *mase]))


def text(name: str) -> tuple[str, str]:
    """The first line of a pass's docstring, and what follows before its options."""
    whole = inspect.cleandoc(PASSES.lookup(name).__doc__ or "(not described)")
    first, _, rest = re.split(r"^(?:Args|Options|Returns|Raises):$", whole, maxsplit=1, flags=re.M)[0].partition("\n\n")
    return " ".join(first.split()), rest.strip()


def option_rows(name: str) -> list[dict[str, str]]:
    """A row for each option of a pass: its name, MASE's word for it, its default, its meaning.

    Raises:
        ConfigError: there is no such pass; names the nearest.
    """
    found: Any = PASSES.lookup(name)
    function = getattr(found, OPTIONS_OF, None)
    described = _section(found, "Options")
    defaults: dict[str, str] = {}
    if function is not None:
        described = {**_section(function, "Args"), **described}
        defaults = {key: _default(each) for key, each in inspect.signature(function).parameters.items()}
    words = {ours: theirs for theirs, ours in OPTIONS.get(PASSES.canonical(name), {}).items()}
    rows = []
    for option, meaning in described.items():
        meaning = re.sub(r" \(`\w+\.py`\)", "", meaning)  # where the code's reader finds more
        if option in NO_OPTIONS and option in defaults:
            continue
        stated = re.search(r" \(default:? ([^()]+)\)", meaning)
        rows.append(
            {
                "option": option, "also called": words.get(option, ""),
                "default": stated[1] if stated else defaults.get(option, "-"),
                "meaning": meaning.replace(stated[0], "") if stated else meaning,
            }
        )  # fmt: skip
    return rows


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    return "-" if value in (None, parameter.empty) else json.dumps(value)


def _section(function: Any, title: str) -> dict[str, str]:
    """Names and texts of a section of a docstring, in their order."""
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index(f"{title}:") + 1 :] if f"{title}:" in lines else []:
        if line and not line.startswith(" "):
            break
        entry = re.fullmatch(r"    (\S[^:]*): (.*)", line)
        if entry is not None:
            names = entry[1].split(", ")
            found.update(dict.fromkeys(names, entry[2].strip()))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return found
