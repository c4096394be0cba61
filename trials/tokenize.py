"""Chats and texts as token ids, with a mask of the tokens that count in the loss.

Knows tokenizers and their chat templates; knows no files and no splits. Every model's template is handled in
one way: it renders text, and where an assistant turn lies follows from rendering the turns before it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from trials.default_data import to_messages
from trials.errors import DataError
from trials.forms import Chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHORTEST_BLOCK = 16  # tokens; a shorter rest of a document says little and costs a whole row

_CHARACTERS_A_TOKEN = 6  # more than text has on average; too low a guess costs time, not correctness

_Span = tuple[int, int]  # characters [start, end)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """One row as the model sees it.

    Attributes:
        ids: Token ids [seq], at most cutoff_len of them.
        is_label: Whether each token counts in the loss [seq].
        cut: Whether tokens beyond cutoff_len were lost.
        cut_in_answer: Whether the first of them belongs to the answer that the last kept one belongs to.
    """

    ids: list[int]
    is_label: list[bool]
    cut: bool
    cut_in_answer: bool = False


def tokenize_chat(tokenizer: "PreTrainedTokenizerBase", chat: Chat, cutoff_len: int) -> Tokenized:
    """Render a chat with the tokenizer's own chat template and tokenise it; the assistant's words are labels.

    Labels are what the model must say by itself: an assistant turn's text and its end-of-turn marker, but not
    the header before it (the generation prompt) nor the white space after the marker. A token that straddles
    the border of a turn is a label: it carries some of the assistant's text.

    Args:
        tokenizer: A fast tokenizer with a chat template.
        chat: The turns; those after the last assistant turn are ignored.
        cutoff_len: Most tokens to keep.

    Raises:
        DataError: The tokenizer has no chat template or gives no offsets; its template refuses the chat, or
            renders the last assistant turn so that it cannot be told from what comes before.
    """
    _check_tokenizer(tokenizer)
    messages = to_messages(chat)
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        return Tokenized([], [], cut=False)
    # First the turns that should fill cutoff_len: a chat can have 150, and the model sees a few.
    few = _opening(messages, cutoff_len * _CHARACTERS_A_TOKEN)
    row = _tokenize_messages(tokenizer, few, cutoff_len)
    if len(few) < len(messages) and not row.cut:
        row = _tokenize_messages(tokenizer, messages, cutoff_len)
    return row


def tokenize_text(tokenizer: "PreTrainedTokenizerBase", text: str, cutoff_len: int) -> list[Tokenized]:
    """Tokenise a document and cut it into blocks, in which every token is a label.

    The document begins as the tokenizer would begin it (with its bos token, if it adds one) and ends with the
    eos token, if there is one. A last block of fewer than `SHORTEST_BLOCK` tokens is dropped.

    Args:
        tokenizer: Any tokenizer.
        text: The document.
        cutoff_len: Tokens a block; the last one may have fewer.
    """
    ids: list[int] = list(tokenizer(text, verbose=False)["input_ids"])
    if tokenizer.eos_token_id is not None and (not ids or ids[-1] != tokenizer.eos_token_id):
        ids.append(tokenizer.eos_token_id)
    blocks = [ids[start : start + cutoff_len] for start in range(0, len(ids), cutoff_len)]
    if blocks and len(blocks[-1]) < min(SHORTEST_BLOCK, cutoff_len):
        blocks.pop()
    return [Tokenized(block, [True] * len(block), cut=False) for block in blocks]


def count_tokens(tokenizer: "PreTrainedTokenizerBase", chat: Chat) -> int:
    """Return how many tokens a chat has when nothing is cut; arguments and errors as in `tokenize_chat`."""
    _check_tokenizer(tokenizer)
    return len(tokenizer(_render(tokenizer, to_messages(chat)), add_special_tokens=False, verbose=False)["input_ids"])


def _check_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> None:
    if not tokenizer.chat_template:
        raise DataError(
            "the tokenizer has no chat template, which stage sft needs: take the model's instruct or chat "
            "variant, put a chat_template.jinja beside its tokenizer, or train plain text with stage pt"
        )
    if not tokenizer.is_fast:
        raise DataError("the tokenizer is a slow one and tells no offsets; stage sft needs one with a tokenizer.json")


def _opening(messages: list[dict[str, str]], characters: int) -> list[dict[str, str]]:
    """Return the first turns, up to the assistant turn with which they reach a number of characters."""
    for i, message in enumerate(messages):
        characters -= len(message["content"])
        if characters <= 0 and message["role"] == "assistant":
            return messages[: i + 1]
    return messages


def _tokenize_messages(
    tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], cutoff_len: int
) -> Tokenized:
    full = _render(tokenizer, messages)
    encoded = tokenizer(full, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = encoded["input_ids"][:cutoff_len]
    offsets: list[_Span] = encoded["offset_mapping"][: cutoff_len + 1]  # and the first that is lost
    # Turns beyond the last kept token need no rendering of their own.
    limit = max((end for _, end in offsets[:cutoff_len]), default=0)
    spans = _assistant_spans(tokenizer, messages, full, limit)
    labels = _labels(offsets, spans)
    cut = len(encoded["input_ids"]) > cutoff_len
    return Tokenized(ids, labels[:cutoff_len], cut, cut_in_answer=cut and all(labels[-2:]))


def _render(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], prompt: bool = False) -> str:
    try:
        rendered: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    except TemplateError as error:  # templates refuse roles or orders by raising
        raise DataError(f"the tokenizer's chat template refuses a chat of this data set: {error}") from error
    return rendered


def _assistant_spans(
    tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], full: str, limit: int
) -> list[_Span]:
    """Return where the assistant turns that begin before character `limit` of the rendered chat lie.

    Turn i begins where the rendering of the turns before it, with a generation prompt, ends; and it ends
    where the rendering of the turns up to and with it ends. With a template that writes earlier turns in
    another way once later ones follow (reasoning models drop old thoughts), these are no prefixes of the
    whole: then only the last turn is taken, which stands as the model would have to write it.
    """
    spans: list[_Span] = []
    closing = ""  # what the template writes after an answer, learned from the first
    last = len(messages) - 1
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        head = _render(tokenizer, messages[:i], prompt=True)
        start = len(head)
        if full.startswith(head) and start >= limit:
            break
        answer = message["content"] + closing
        if closing and full.startswith(head + answer):
            end = start + len(answer)
        else:
            turn = full if i == last else _render(tokenizer, messages[: i + 1])
            if not (full.startswith(head) and full.startswith(turn) and len(turn) >= start):
                return [_last_span(tokenizer, messages, full)]
            end = len(turn.rstrip())
            closing = full[start:end].partition(message["content"])[2]
        spans.append((start, end))
    return spans


def _last_span(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], full: str) -> _Span:
    head = _render(tokenizer, messages[:-1], prompt=True)
    if not full.startswith(head):
        raise DataError(
            "the tokenizer's chat template renders the turns before an answer in another way once the answer "
            "follows, so that the answer cannot be told from them: take a model whose template does not"
        )
    return len(head), len(full.rstrip())


def _labels(offsets: list[_Span], spans: list[_Span]) -> list[bool]:
    """Mark the tokens [seq] that share a character with a span; both lists are in text order.

    Byte-level tokens that split one character all carry that character's offsets. A token of no width counts
    as the character at its place.
    """
    labels = []
    at = 0
    for start, end in offsets:
        while at < len(spans) and spans[at][1] <= start:
            at += 1
        labels.append(at < len(spans) and max(end, start + 1) > spans[at][0])
    return labels
