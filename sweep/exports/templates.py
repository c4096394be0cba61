"""Which of LLaMA-Factory's chat templates a full run needs, so that it renders chats as the trial did.

The trial used the tokenizer's own template, and LLaMA-Factory (0.9.5) does so too when it is told none: it renders a
few chats and takes the pieces out of what comes back. For SmolLM2 and Qwen 2.5 that gives the trial's text to the
letter, where its own `smollm2` has one full stop more. It breaks on templates that refuse a lone system turn, that
strip what they are given, or that write a default system turn by themselves: those are named here.
"""

import json
from pathlib import Path
from typing import Any

# What a chat template holds -> LLaMA-Factory's name; the first that fits counts. Found by rendering chats with the
# models' own templates and with LLaMA-Factory 0.9.5, of which only these are needed and near enough.
NAMED = (
    ("<|start_header_id|>", "llama3"),
    ("<start_of_turn>", "gemma"),
    ("<｜Assistant｜>", "deepseek3"),
    ("No user query found in messages", "qwen3_5"),
    ("<<SYS>>", "llama2"),
    ("[INST]", "mistral"),
)
OWN = "no template: LLaMA-Factory then reads the tokenizer's own, as the trial did"
FILES = ("chat_template.jinja", "tokenizer_config.json")


def llamafactory_template(base: str) -> tuple[str | None, str]:
    """LLaMA-Factory's template for a base model, None for the tokenizer's own; and a comment.

    Args:
        base: The base model's folder or hub name; of the hub only what is on this machine is looked at.
    """
    text = _chat_template(base)
    for mark, name in NAMED:
        if mark in text:
            return name, f"template {name}: LLaMA-Factory cannot take this tokenizer's own apart, and this one is near"
    return None, OWN


def _chat_template(base: str) -> str:
    """The text of a tokenizer's chat template, that of all of them when it has several; empty without one."""
    for name in FILES:
        file = _find(base, name)
        if file is None:
            continue
        text = file.read_text(encoding="utf8", errors="replace")
        if name.endswith(".jinja"):
            return text
        try:
            settings: Any = json.loads(text)
        except ValueError:
            return ""
        return json.dumps(settings.get("chat_template") or "", ensure_ascii=False)
    return ""


def _find(base: str, name: str) -> Path | None:
    folder = Path(base)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(base, name)
    except HFValidationError:  # a folder that is gone is no hub name
        return None
    return Path(cached) if isinstance(cached, str) else None
