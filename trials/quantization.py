"""QLoRA (arXiv 2305.14314): a base model whose linear weights are held in 4 or 8 bits by bitsandbytes."""

import json
from pathlib import Path
from typing import Any

import torch

from trials.errors import ModelError

PACKAGE = "bitsandbytes"
INSTALL = "pip install 'bitsandbytes>=0.46.1'"  # what transformers asks for at least
AUTO_BITS = 4  # what "auto" takes: the guide's 4.4 speaks of QLoRA, which is 4 bits
PROBE = 64  # a matrix of one block of weights a row, for a trial of the device


def settle(bits: int | str | None, folder: Path, name: str) -> tuple[int | None, str]:
    """What is done of the quantisation that was asked for.

    "auto" quantises on a GPU alone: on the CPU a 4-bit base hardly needs less memory in training (the default
    model in rows of 128 tokens: 1.91 GB at its peak where bf16 has 1.99), and dequantising takes time.

    Args:
        bits: 4, 8, "auto" or None.
        folder: The base model's.
        name: The base model's, for people.

    Returns:
        The bits, None for an unquantised base; and why "auto" came to nothing, "" when it did not.

    Raises:
        ModelError: 4 or 8 was asked for, and this device or this model cannot have it.
    """
    if bits is None:
        return None, ""
    if bits == "auto" and not torch.cuda.is_available():
        return None, "the CPU's memory is not what is short"
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    wanted = AUTO_BITS if bits == "auto" else int(bits)
    hindrance = _own_quantisation(folder) or hindered(wanted, device)
    if not hindrance:
        return wanted, ""
    if bits == "auto":
        return None, hindrance
    raise ModelError(
        f"quantization_bit is {bits}, but the model {name!r} cannot be quantised here: {hindrance}. "
        "Without: --set quantization_bit=0"
    )


def hindered(bits: int, device: torch.device) -> str:
    """Why bitsandbytes cannot hold weights on this device, found by doing it once; "" when it can."""
    from transformers.utils import is_bitsandbytes_available
    from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION

    try:
        import bitsandbytes
    except (ImportError, OSError, RuntimeError) as error:  # what a library of another system raises
        if isinstance(error, ModuleNotFoundError) and error.name == PACKAGE:
            return f"{PACKAGE} is not installed: {INSTALL}"
        return f"{PACKAGE} cannot be imported ({_short(error)})"
    if not is_bitsandbytes_available():
        return f"{PACKAGE} {bitsandbytes.__version__} is too old, {BITSANDBYTES_MIN_VERSION} is needed: {INSTALL}"
    kind = bitsandbytes.nn.Linear4bit if bits == AUTO_BITS else bitsandbytes.nn.Linear8bitLt
    more = {"quant_type": "nf4"} if bits == AUTO_BITS else {"has_fp16_weights": False}
    try:
        probe = kind(PROBE, PROBE, bias=False, **more).to(device)
        probe(torch.ones(1, PROBE, device=device, requires_grad=True)).sum().backward()
    except (RuntimeError, NotImplementedError, AttributeError, OSError, ValueError) as error:
        return f"{PACKAGE} {bitsandbytes.__version__} does not run on {device.type} ({_short(error)})"
    return ""


def loading_arguments(bits: int | None, compute: torch.dtype) -> dict[str, Any]:
    """What transformers is told to quantise while it loads; LLaMA-Factory's defaults.

    Args:
        bits: 4, 8 or None.
        compute: The type that 4-bit weights are turned into for each product.
    """
    if bits is None:
        return {}
    from transformers import BitsAndBytesConfig

    if bits == AUTO_BITS:
        settings = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
    else:
        settings = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": settings}


def prepare(model: Any) -> bool:
    """Makes a quantised base fit for training, and says whether it will recompute activations.

    Of what PEFT's `prepare_model_for_kbit_training` does, freezing is done for every base. Gradient checkpointing
    is taken over: who quantises is short of memory, and beside 4-bit weights it is the activations that fill it.
    Its cast of norms, embeddings and output to fp32 is not: that guards against fp16, which is never used here,
    would double the largest unquantised weights and every activation, and would make a quantised base differ
    from a plain one in more than its weights.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # On CPUs with avx512_bf16, bitsandbytes repacks weights at the first evaluation, into a form that has
            # no gradient; training would go on in silence, with wrong gradients.
            module.support_avx512bf16_for_cpu = False
    return checkpoint_activations(model)


def checkpoint_activations(model: Any) -> bool:
    """Lets a model compute activations again in the backward pass instead of keeping them; whether that is new."""
    if checkpoints_activations(model) or not getattr(model, "supports_gradient_checkpointing", False):
        return False
    # At work in training mode only; in the form that torch's documentation advises.
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return True


def checkpoints_activations(model: Any) -> bool:
    """Whether a model computes activations again in the backward pass."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def keep_activations(model: Any) -> None:
    """Undoes `checkpoint_activations`."""
    model.gradient_checkpointing_disable()


def _own_quantisation(folder: Path) -> str:
    settings = json.loads((folder / "config.json").read_text(encoding="utf8")).get("quantization_config")
    if not isinstance(settings, dict):
        return ""
    return f"its weights are quantised already ({settings.get('quant_method', 'by a method without a name')})"


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
