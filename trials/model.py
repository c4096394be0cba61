"""Finds, checks and loads a base model: the default one, a local folder, or a hub name."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from trials.default_model import NAME as DEFAULT_NAME
from trials.default_model import default_model
from trials.errors import ModelError
from trials.lora import features, targets
from trials.memory import Room
from trials.merged import read_origin
from trials.passes import Passes, find_passes
from trials.protocol import DeviceFacts, ModelFacts
from trials.quantization import loading_arguments, prepare, settle

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# What is needed of a hub repository: no pickled weights, no other frameworks' files.
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.py"]
# Bytes that are hashed at either end of each weights file: hashing all of a large model takes a minute.
SAMPLE_BYTES = 1 << 16
# What is known to come out of transformers for folders that are damaged, incomplete or of an unknown kind.
LOADING_ERRORS = (OSError, ValueError, TypeError, RuntimeError, KeyError, ImportError, SafetensorError)


@dataclass(frozen=True)
class BaseModel:
    """A frozen base model with its tokenizer.

    Attributes:
        model: The transformers model, without gradients.
        tokenizer: Its tokenizer.
        tokenizer_fingerprint: 16 hex characters of vocabulary and chat template.
        reference: What an adapter's file names as its base: a folder, or the hub name.
        device: Where inputs go.
        facts: What is told to the coordinator.
        passes: How rows can go through it.
        room: How many tokens a pass may have.
    """

    model: Any
    tokenizer: Any
    tokenizer_fingerprint: str
    reference: str
    device: torch.device
    facts: ModelFacts
    passes: Passes
    room: Room

    @property
    def pad_id(self) -> int:
        """The token that fills up rows. It is masked, so that any will do where the tokenizer has none."""
        return self.tokenizer.pad_token_id or 0

    def device_facts(self) -> DeviceFacts:
        """Name and memory of the device, as they are now."""
        if self.device.type == "cuda":
            count = torch.cuda.device_count()
            memory = [torch.cuda.mem_get_info(index) for index in range(count)]
            return DeviceFacts(
                name=torch.cuda.get_device_name(0),
                memory_bytes=sum(total for _, total in memory),
                free_bytes=sum(free for free, _ in memory),
                used_bytes=sum(torch.cuda.memory_allocated(index) for index in range(count)),
            )
        total, available = system_memory()
        return DeviceFacts(name="cpu", memory_bytes=total, free_bytes=available)


def find_model(model: str, cache: Path) -> tuple[Path, str]:
    """Returns the folder of a model and its name for people.

    Args:
        model: Empty for the default model, else a folder or a hub name.
        cache: The cache folder of the default model.

    Raises:
        ModelError: Nothing of that name can be found, or it has no safetensors weights.
    """
    if not model or model == DEFAULT_NAME:
        return default_model(cache), DEFAULT_NAME
    folder = Path(os.path.expanduser(model))  # Path's own raises for a user that there is not
    if folder.is_dir():
        origin = read_origin(folder)
        name = origin.name if origin else folder.resolve().name
    elif folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelError(f"no model folder {model!r}: give a folder with config.json and safetensors, or a hub name")
    else:
        folder, name = _from_hub(model), model
    if not (folder / "config.json").is_file():
        raise ModelError(f"the model folder {model!r} has no config.json")
    if not list(folder.glob("*.safetensors")):
        others = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"})
        raise ModelError(f"the model {model!r} has no *.safetensors weights{_pickled(folder, others)}")
    return folder, name


def _pickled(folder: Path, names: list[str]) -> str:
    """What is said of pickled weights, and how those of a trusted source become safetensors."""
    if not names:
        return ""
    convert = (
        "from transformers import AutoModelForCausalLM as A, AutoTokenizer as T; "
        f"p = {str(folder)!r}; q = p + '-safe'; "
        "A.from_pretrained(p, use_safetensors=False).save_pretrained(q); T.from_pretrained(p).save_pretrained(q)"
    )
    return (
        f"; it has {', '.join(names)}, a pickle, which can hold code and is not loaded.\n"
        f'If you trust it, convert it, and give the new folder: python -c "{convert}"'
    )


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the client's HTTP library

    try:
        return Path(snapshot_download(model, allow_patterns=HUB_FILES))
    except (OSError, ValueError, HTTPError) as error:
        raise ModelError(
            f"no model {model!r}: it is no local folder, and the hub gave none of that name ({_short(error)})"
        ) from error


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def load_base(
    folder: Path, name: str, dtype: str, trust_remote_code: bool = False, quantization_bit: int | str | None = None
) -> BaseModel:
    """Loads a base model and its tokenizer onto this process's device, frozen.

    On one GPU or none the whole model goes there; over several GPUs accelerate spreads its layers.

    Args:
        folder: As `find_model` gave it.
        name: For people.
        dtype: "auto", "bf16" or "fp32".
        trust_remote_code: Whether the model may bring its own code.
        quantization_bit: 4 or 8 to quantise its linear weights, "auto" for 4 where that runs on a GPU.

    Raises:
        ModelError: transformers cannot load it, its files lack some of its weights, or it cannot be quantised here.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gpus = torch.cuda.device_count()
    kind = pick_dtype() if dtype == "auto" else dtype
    try:
        bits, not_quantized = settle(quantization_bit, folder, name)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=DTYPES[kind],
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            **({"device_map": "auto"} if gpus > 1 else {}),
            **loading_arguments(bits, DTYPES[kind]),
        )
    except (*LOADING_ERRORS, StrictDataclassError) as error:
        raise ModelError(f"the model {name!r} cannot be loaded: {_short(error)}") from error
    if loading["missing_keys"]:
        # transformers would draw them by chance, and each process others.
        missing = sorted(loading["missing_keys"])
        raise ModelError(f"the model {name!r} lacks {len(missing)} of its weights, {missing[0]} among them")
    device = torch.device("cuda", 0) if gpus else torch.device("cpu")
    if gpus == 1 and bits is None:  # a quantised one was laid there while it was loaded
        model.cuda()
    model.requires_grad_(False)
    model.config.use_cache = False
    checkpointing = bits is not None and prepare(model)
    model.eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return BaseModel(
        model=model,
        tokenizer=tokenizer,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        # A merged model's name may hold a hub name.
        reference=name if "/" in name and read_origin(folder) is None else str(folder.resolve()),
        device=device,
        facts=dataclasses.replace(
            _facts(model, name, kind, model_fingerprint(folder)),
            quantization_bit=bits,
            not_quantized=not_quantized,
            gradient_checkpointing=checkpointing,
        ),
        passes=find_passes(model),
        room=Room(device),
    )


def pick_dtype() -> str:
    """bf16 where the device has units for it (then it trains about 1.5 times as fast), else fp32."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


def linear_modules(model: Any) -> tuple[str, ...]:
    """Leaf names of the modules that an adapter can be put on, but for the output embedding.

    transformers' Conv1D (GPT-2's) counts as linear: PEFT adapts it too. bitsandbytes' modules are nn.Linear's heirs.
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names = {
        path.rsplit(".", 1)[-1]
        for path, module in model.named_modules()
        if module is not head and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
    }
    return tuple(sorted(names))


def linear_sizes(model: Any) -> dict[str, int]:
    """Inputs and outputs of all linear modules of a leaf name, summed."""
    sizes = {}
    for name in linear_modules(model):
        sizes[name] = sum(sum(features(module)) for module in targets(model, (name,)).values())
    return sizes


def _facts(model: Any, name: str, dtype: str, fingerprint: str) -> ModelFacts:
    config = model.config.get_text_config()
    return ModelFacts(
        name=name,
        model_type=str(config.model_type),
        layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        vocab_size=int(config.vocab_size),
        parameters=int(model.num_parameters()),  # not of the tensors, which hold two 4-bit weights a byte
        linear_modules=linear_modules(model),
        linear_sizes=linear_sizes(model),
        dtype=dtype,
        fingerprint=fingerprint,
    )


def model_fingerprint(folder: Path) -> str:
    """16 hex characters of a model's settings and weights, whatever the folder is called.

    Covers config.json but for the keys that tell where or by which version it was saved, and of each weights
    file its size, both ends and its header (names, shapes and offsets of all tensors). At both ends lie the embedding
    and the last layers, which need not change in a merged model: there it covers base and adapter too.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    config = {key: value for key, value in config.items() if key not in {"_name_or_path", "transformers_version"}}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    origin = read_origin(folder)
    if origin is not None:
        digest.update(f"{origin.base_fingerprint} {origin.adapter_sha256}".encode())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = file.read(min(header_bytes, size))
            start = file.read(SAMPLE_BYTES)
            file.seek(max(0, size - SAMPLE_BYTES))
            digest.update(f"{path.name} {size}".encode() + header + start + file.read())
    return digest.hexdigest()[:16]


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """16 hex characters of what decides how text becomes tokens: vocabulary, special tokens, chat template."""
    parts = [tokenizer.get_vocab(), tokenizer.chat_template, sorted(map(str, tokenizer.all_special_tokens))]
    if hasattr(tokenizer, "backend_tokenizer"):
        parts.append(tokenizer.backend_tokenizer.to_str())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def system_memory() -> tuple[int, int]:
    """This machine's memory in bytes: all, and what could be had now."""
    import psutil

    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)
