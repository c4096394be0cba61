"""A tokenizer small enough to make in a test: bytes, a few merges, and a chat template of one's choice."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As reasoning models do: the last answer carries a thought, which is dropped once another turn follows.
REWRITING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The first line tells how many turns there are: no rendering of fewer turns is a prefix of the whole.
HOPELESS = "{{ messages | length }} turns\n" + CHATML
# No marker ends an answer, and the header ends in the middle of what byte-pairs could join.
PLAIN = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | trim + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
# Llama 2's: no system turns, and complaints about the order of turns.
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' <|im_end|>' }}{% endif %}{% endfor %}"
)
_SENTENCES = [
    "hello there how are you today",
    "the assistant answers the user",
    "user system good morning é 🙂",
]


def make_tokenizer(template: str | None = CHATML, bos: bool = False, **options: Any) -> PreTrainedTokenizerFast:
    """Make a byte-level BPE tokenizer of about 300 tokens.

    Args:
        template: Its chat template, in Jinja.
        bos: Whether it begins what it tokenises with its bos token <|im_start|>, as Llama's does.
        options: Passed on to PreTrainedTokenizerFast.
    """
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(_SENTENCES, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", inner.token_to_id("<|im_start|>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<|im_end|>", **options
    )
    tokenizer.chat_template = template
    return tokenizer
