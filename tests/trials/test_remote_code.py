"""A model's own Python files are run only where that was asked for."""

import ast
import json
from pathlib import Path

import pytest

from tests.tiny import make_tiny_model
from trials.errors import ModelError
from trials.model import find_model, load_base

TRIALS = Path(__file__).parents[2] / "trials"
CODE = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "{kind}"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""


def _model(folder: Path, mark: Path, kind: str, tokenizer: bool) -> Path:
    """A tiny model whose files name classes of its own; loading one of those leaves a mark."""
    make_tiny_model(folder)
    (folder / "own.py").write_text(CODE.format(mark=str(mark), kind=kind), encoding="utf8")
    for file, classes in (
        ("config.json", {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]} if tokenizer else {}),
    ):
        path = folder / file
        plain = json.loads(path.read_text(encoding="utf8")) | ({"auto_map": classes} if classes else {})
        if file == "config.json":
            plain["model_type"] = kind
        path.write_text(json.dumps(plain), encoding="utf8")
    return folder


@pytest.mark.parametrize("tokenizer", [False, True], ids=["model", "model and tokenizer"])
@pytest.mark.parametrize("kind", ["llama", "own_llama"], ids=["of a known kind", "of a kind of its own"])
def test_own_code_of_a_model_is_not_run(
    kind: str, tokenizer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark = tmp_path / "ran"
    folder, name = find_model(str(_model(tmp_path / "model", mark, kind, tokenizer)), tmp_path / "cache")
    if kind == "llama":
        load_base(folder, name, "fp32")
    else:
        with pytest.raises(ModelError, match=r"trust_remote_code|custom code"):
            load_base(folder, name, "fp32")
    assert not mark.exists()


def test_own_code_of_a_model_is_run_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above sees what it is after."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark = tmp_path / "ran"
    folder, name = find_model(str(_model(tmp_path / "model", mark, "own_llama", False)), tmp_path / "cache")
    load_base(folder, name, "fp32", trust_remote_code=True)
    assert mark.exists()


# The embedded model's own files, PEFT's adapters and data sets are data: transformers, PEFT and datasets (which runs no
# loading script since 4.0) have no code of theirs to run unless a call says so.
WITHOUT = {("default_model.py", "from_pretrained"), ("merge.py", "from_pretrained"), ("tables.py", "load_dataset")}
LOADERS = ("from_pretrained", "from_config", "load_dataset", "pipeline")


def test_every_call_that_could_run_a_models_code_passes_on_what_was_asked() -> None:
    found, without = 0, set()
    for path in sorted(TRIALS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if name not in LOADERS:
                continue
            found += 1
            passed = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if passed.get("trust_remote_code") != "trust_remote_code":
                without.add((path.name, name))
    assert without == WITHOUT
    assert found >= 5
