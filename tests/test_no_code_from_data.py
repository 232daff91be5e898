"""Nothing that comes from a file or a command line is run: no eval, exec, unpickling or shell in the packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for part in ("fairseq", "fairseq_cli", "examples", "scripts") for path in (ROOT / part).rglob("*.py")
)
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    ("pickle", "load"),
    ("pickle", "loads"),
    ("pickle", "Unpickler"),
    ("marshal", "loads"),
    ("shelve", "open"),
    ("os", "system"),
    ("os", "popen"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("joblib", "load"),
}


def calls(tree):
    """(line, what) of each call that turns data into code."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function, keywords = node.func, {word.arg: word.value for word in node.keywords}
        if isinstance(function, ast.Name) and function.id in BUILTINS:
            yield node.lineno, function.id
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            name = (function.value.id, function.attr)
            if name in METHODS:
                yield node.lineno, ".".join(name)
            if name == ("torch", "load") and not is_true(keywords.get("weights_only")):
                yield node.lineno, "torch.load without weights_only=True"
            if name == ("np", "load") and "allow_pickle" in keywords:
                yield node.lineno, "np.load(allow_pickle=...)"
        if "shell" in keywords and not is_false(keywords["shell"]):
            yield node.lineno, "shell=..."


def is_true(node):
    return isinstance(node, ast.Constant) and node.value is True


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def test_no_file_turns_data_into_code():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in FILES
        for line, what in calls(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(FILES) > 200 and found == []


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)",
        "pickle.load(f)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "run(c, shell=True)",
        "os.system(c)",
    ],
)
def test_what_would_be_found(text):
    assert list(calls(ast.parse(text)))
