"""A Llama of a million weights, pretrained on the spot on real text, and chats to fine-tune it on.

Small enough to fine-tune in seconds on one CPU thread, and pretrained, so that its curves have a real run's shapes.
"""

import functools
import json
import random
import time
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from tests.trials.tiny_tokenizer import make_tokenizer
from trials.default_data import default_rows, to_messages
from trials.forms import Chat, Text

BLOCK = 128  # tokens
BATCH = 16
PRETRAINING_STEPS = 1500
CHARACTERS = 40  # of a question, and of an answer
# What a broken data pipeline makes of an answer: signs that follow no rule. ln 94 is 4.5 nats a sign.
NOISE = [chr(code) for code in range(33, 127)]


def pretrained(folder: Path) -> Path:
    """Trains the model into `folder` unless it is there; about six minutes of one core."""
    if (folder / "config.json").is_file():
        return folder
    tokenizer = make_tokenizer(pad_token="<|endoftext|>")
    tokens = torch.tensor(tokenizer("\n\n".join(_texts()))["input_ids"])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=PRETRAINING_STEPS)
    started = time.process_time()
    for step in range(PRETRAINING_STEPS):
        starts = torch.randint(0, len(tokens) - BLOCK - 1, (BATCH,))
        block = torch.stack([tokens[start : start + BLOCK + 1] for start in starts.tolist()])
        logits = model(input_ids=block[:, :-1]).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten())
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"pretraining step {step}: {loss.item():.3f}, {time.process_time() - started:.0f} CPU s", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_chats(path: Path, rows: int, seed: int, noise: bool) -> Path:
    """Writes chats of one question and one answer that pretraining has not seen; with `noise`, answers of any signs."""
    generator = random.Random(seed)
    pairs = unseen_pairs()
    lines = []
    for question, answer in generator.sample(pairs, rows):
        said = "".join(generator.choices(NOISE, k=30)) if noise else answer
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
        lines.append(json.dumps({"messages": turns}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def _texts() -> list[str]:
    """The Python reference, and what was said in every other dialogue."""
    reference = [row.text for row in default_rows("pydoc") if isinstance(row, Text)]
    talk = ["\n".join(message["content"] for message in to_messages(chat)) for chat in _chats()[::2]]
    texts = reference + talk
    random.Random(0).shuffle(texts)
    return texts


@functools.cache
def unseen_pairs() -> list[tuple[str, str]]:
    """Questions and answers of the dialogues that pretraining left out."""
    return [pair for chat in _chats()[1::2] for pair in _pairs(chat)]


def _chats() -> list[Chat]:
    return [row for row in default_rows("chitchat") if isinstance(row, Chat)]


def _pairs(chat: Chat) -> list[tuple[str, str]]:
    said = [message["content"] for message in to_messages(chat)]
    pairs = zip(said[::2], said[1::2], strict=False)
    return [(q, a) for q, a in pairs if 3 < len(q) <= CHARACTERS and 3 < len(a) <= CHARACTERS]
