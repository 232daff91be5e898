"""Every public name of fairseq 0.12 (fairseq_names.txt) is here, or has its reason in names_left_out.txt.

python tests/conformance/test_names.py      prints what is missing without a reason, and reasons that are not needed
"""

import functools
import importlib
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = HERE / "fairseq_names.txt"
LEFT_OUT = HERE / "names_left_out.txt"


def names():
    """Module -> its names."""
    lines = [line.partition(":") for line in NAMES.read_text(encoding="utf-8").splitlines()]
    return {module: rest.split() for module, _, rest in lines}


def left_out():
    """Entry -> reason. `module` and `module.*` stand for all that is in them, `module: NAMES` for those names."""
    entries, reason = {}, ""
    for line in LEFT_OUT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = line.strip("# ")
        elif line.strip():
            module, _, listed = line.partition(": ")
            for entry in [f"{module}:{name}" for name in listed.split()] or [module]:
                assert entry not in entries, f"{entry} is there twice"
                entries[entry] = reason
    return entries


@functools.cache
def imported(module):
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        return None


def is_here(module, name):
    if imported(module) is None:
        return False
    return hasattr(imported(module), name) or imported(f"{module}.{name}") is not None


def missing():
    """What fairseq has and this package has not: modules, and `module:name` of modules that are here."""
    found = set()
    for module, listed in names().items():
        if imported(module) is None:
            found.add(module)
        else:
            found |= {f"{module}:{name}" for name in listed if not is_here(module, name)}
    return found


def covers(entry, name):
    """Whether an entry of the list stands for a missing module or name; a package's attribute is its module, too."""
    module, _, attribute = name.partition(":")
    if ":" in entry:
        return entry == name
    return fnmatchcase(module, entry) or (attribute != "" and fnmatchcase(f"{module}.{attribute}", entry))


@functools.cache
def compared():
    """Missing names without a reason, and reasons without a missing name."""
    absent, entries = missing(), left_out()
    without = sorted(name for name in absent if not any(covers(entry, name) for entry in entries))
    stale = sorted(entry for entry in entries if not any(covers(entry, name) for name in absent))
    return without, stale


def test_every_name_is_here_or_has_a_reason():
    without, _ = compared()
    assert not without, (
        f"{len(without)} names are missing; write them, or say in {LEFT_OUT.name} why not: {without[:20]}"
    )


def test_no_reason_is_stale():
    _, stale = compared()
    assert not stale, f"take these out of {LEFT_OUT.name}, their names are here (or not fairseq's): {stale}"


def test_every_entry_has_a_reason():
    assert all(len(reason) > 10 for reason in left_out().values())


@pytest.mark.oracle
@pytest.mark.slow
def test_list_is_what_fairseq_has(oracle_python, oracle_env, tmp_path):
    script, target = HERE / "make_name_list.py", tmp_path / "names.txt"
    subprocess.run([oracle_python, script, target], env=oracle_env, cwd=tmp_path, check=True, capture_output=True)
    assert target.read_text(encoding="utf-8") == NAMES.read_text(encoding="utf-8")


if __name__ == "__main__":
    for title, entries in zip(("missing without a reason", "reasons not needed"), compared(), strict=True):
        sys.stdout.write(f"{title}: {len(entries)}\n" + "".join(f"  {entry}\n" for entry in entries))
