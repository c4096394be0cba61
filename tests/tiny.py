"""A model and data small enough to make and train in a test."""

import json
import random
from pathlib import Path

from tests.trials.tiny_tokenizer import make_tokenizer

COUNTS, ANIMALS = ["one", "two", "three"], ["cat", "dog", "bird"]
WORDS = ["red", "green", "blue", *COUNTS, *ANIMALS, "runs", "sleeps", "eats", "here", "there", "now"]


def make_tiny_model(folder: Path, hidden_size: int = 32, layers: int = 2) -> Path:
    """Saves a random Llama of about 40,000 weights with a tokenizer and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(pad_token="<|endoftext|>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tiny_chats(path: Path, rows: int = 80) -> Path:
    """Writes distinct one-turn chats whose answers repeat the question, as JSON lines."""
    generator = random.Random(0)
    lines: set[str] = set()
    while len(lines) < rows:
        words = " ".join(generator.choices(WORDS, k=generator.randint(3, 8)))
        turns = [{"role": "user", "content": f"say {words}"}, {"role": "assistant", "content": words}]
        lines.add(json.dumps({"messages": turns}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(sorted(lines)) + "\n", encoding="utf8")
    return path
