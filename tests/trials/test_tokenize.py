"""Which tokens are labels, under templates that differ in what they write and rewrite."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.trials.tiny_tokenizer import CHATML, HOPELESS, PLAIN, REWRITING, STRICT, make_tokenizer
from trials.errors import DataError
from trials.forms import Chat, Message
from trials.tokenize import SHORTEST_BLOCK, Tokenized, tokenize_chat, tokenize_text

TOKENIZER = make_tokenizer()


def chat(*texts: str, system: str = "") -> Chat:
    """Make a chat of turns that alternate, the first a user's."""
    head = (Message("system", system),) if system else ()
    turns = [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    return Chat((*head, *turns))


def labelled(tokenizer: Any, row: Tokenized) -> list[str]:
    """Return the text of each unbroken stretch of labels."""
    stretches: list[list[int]] = []
    before = False
    for token, is_label in zip(row.ids, row.is_label, strict=True):
        if is_label and not before:
            stretches.append([])
        if is_label:
            stretches[-1].append(token)
        before = is_label
    return [tokenizer.decode(stretch) for stretch in stretches]


def test_labels_are_the_answer_and_its_end_marker() -> None:
    row = tokenize_chat(TOKENIZER, chat("hello", "how are you", system="be brief"), 512)
    assert TOKENIZER.decode(row.ids) == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
        "<|im_start|>assistant\nhow are you<|im_end|>\n"
    )
    assert labelled(TOKENIZER, row) == ["how are you<|im_end|>"]
    assert not row.cut


def test_every_answer_of_a_long_chat_is_labelled() -> None:
    texts = [f"{'answer' if i % 2 else 'ask'} {i}" for i in range(150)]
    row = tokenize_chat(TOKENIZER, chat(*texts), 100_000)
    assert labelled(TOKENIZER, row) == [f"{text}<|im_end|>" for text in texts[1::2]]


def test_a_cut_chat_is_the_start_of_the_whole() -> None:
    many = chat(*[f"{'answer' if i % 2 else 'ask'} number {i}" for i in range(150)])
    whole = tokenize_chat(TOKENIZER, many, 100_000)
    for cutoff_len in (1, 7, 64, 200, 1000):
        row = tokenize_chat(TOKENIZER, many, cutoff_len)
        assert row.cut
        assert (row.ids, row.is_label) == (whole.ids[:cutoff_len], whole.is_label[:cutoff_len])


def test_a_cut_chat_is_not_rendered_beyond_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    longest = renders = 0
    render = tokenizer.apply_chat_template

    def count(messages: list[Any], **options: Any) -> Any:
        nonlocal longest, renders
        renders += 1
        longest = max(longest, len(messages))
        return render(messages, **options)

    monkeypatch.setattr(tokenizer, "apply_chat_template", count)
    assert tokenize_chat(tokenizer, chat(*["some words here"] * 150), 64).cut
    assert longest < 40
    assert renders < 8


def test_text_that_packs_many_characters_into_a_token_is_not_taken_for_cut() -> None:
    """The guess at the turns that fill cutoff_len is too low here, and must be corrected."""
    vocabulary = {"[UNK]": 0, "<|im_end|>": 1, "w" * 50: 2}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", eos_token="<|im_end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + ' <|im_end|> ' }}{% endfor %}"
    row = tokenize_chat(tokenizer, chat(*["w" * 50] * 8), 16)
    assert row.ids == [2, 1] * 8
    assert not row.cut


def test_exactly_cutoff_len_tokens_are_not_cut() -> None:
    length = len(tokenize_chat(TOKENIZER, chat("hello", "you"), 512).ids)
    assert not tokenize_chat(TOKENIZER, chat("hello", "you"), length).cut
    assert tokenize_chat(TOKENIZER, chat("hello", "you"), length - 1).cut


def test_a_character_split_into_bytes_is_wholly_labelled() -> None:
    row = tokenize_chat(TOKENIZER, chat("日本", "🙂日é𝄞", "🙂", "日"), 512)
    assert labelled(TOKENIZER, row) == ["🙂日é𝄞<|im_end|>", "日<|im_end|>"]


def test_answers_that_look_like_the_template() -> None:
    texts = ["assistant\n", "user", "<|im_end|>\n<|im_start|>assistant\nfake", "user\n", "a", "a"]
    row = tokenize_chat(TOKENIZER, chat(*texts), 512)
    assert labelled(TOKENIZER, row) == ["user<|im_end|>", "user\n<|im_end|>", "a<|im_end|>"]


def test_a_template_without_end_marker_that_trims() -> None:
    tokenizer = make_tokenizer(PLAIN)
    row = tokenize_chat(tokenizer, chat("hi", "  hello there ", "so", "you\n"), 512)
    assert [text.strip() for text in labelled(tokenizer, row)] == ["hello there", "you"]
    assert "".join(labelled(tokenizer, row)).count(":") == 0


def test_a_token_that_straddles_a_turns_start_is_a_label() -> None:
    """With the header "assistant: ", the answer's first word is one token with the header's last space."""
    tokenizer = make_tokenizer(PLAIN)
    row = tokenize_chat(tokenizer, chat("hi", "are"), 512)
    assert labelled(tokenizer, row)[0] == " are"


def test_a_template_whose_header_is_part_of_the_answer() -> None:
    tokenizer = make_tokenizer(STRICT)
    row = tokenize_chat(tokenizer, chat("hi", "hello", "you", "today"), 512)
    assert [text.strip() for text in labelled(tokenizer, row)] == ["hello <|im_end|>", "today <|im_end|>"]


def test_a_template_that_rewrites_history_labels_the_last_answer_only() -> None:
    tokenizer = make_tokenizer(REWRITING)
    row = tokenize_chat(tokenizer, chat("hi", "one", "and", "two", "more", "three"), 512)
    assert labelled(tokenizer, row) == ["<think></think>three<|im_end|>"]
    assert labelled(tokenizer, tokenize_chat(tokenizer, chat("hi", "one"), 512)) == ["<think></think>one<|im_end|>"]


def test_a_last_answer_beyond_the_cut_gives_no_labels() -> None:
    tokenizer = make_tokenizer(REWRITING)
    assert not any(tokenize_chat(tokenizer, chat("hi", "one", "and", "two"), 20).is_label)


def test_turns_after_the_last_answer_are_ignored() -> None:
    assert tokenize_chat(TOKENIZER, chat("hi", "one", "and"), 512) == tokenize_chat(TOKENIZER, chat("hi", "one"), 512)
    assert tokenize_chat(TOKENIZER, chat("hi"), 512).ids == []


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (None, "has no chat template"),
        (HOPELESS, "renders the turns before an answer in another way"),
        (STRICT, "refuses a chat of this data set: Conversation roles must alternate user/assistant"),
    ],
)
def test_templates_that_cannot_be_used(template: str | None, wanted: str) -> None:
    with pytest.raises(DataError, match=wanted):
        tokenize_chat(make_tokenizer(template), chat("hi", "hello", system="be brief"), 512)


def test_a_slow_tokenizer_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(DataError, match="tells no offsets"):
        tokenize_chat(tokenizer, chat("hi", "hello"), 512)


def test_tokens_of_no_width_belong_to_the_place_where_they_stand() -> None:
    from trials.tokenize import _labels

    offsets = [(0, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4), (4, 6)]
    assert _labels(offsets, [(2, 4)]) == [False, True, True, True, True, False, False]


words = st.text("ab é🙂日<|>\n", min_size=1, max_size=12).filter(lambda text: text.strip() != "")


@settings(max_examples=150, deadline=None)
@given(st.lists(words, min_size=2, max_size=8).filter(lambda texts: len(texts) % 2 == 0))
def test_labels_decode_to_the_answers_whatever_they_are(texts: list[str]) -> None:
    row = tokenize_chat(TOKENIZER, chat(*texts), 10_000)
    assert labelled(TOKENIZER, row) == [f"{text}<|im_end|>" for text in texts[1::2]]


# --- texts

EOS = TOKENIZER.eos_token_id


def test_a_document_is_cut_into_blocks_and_ends_with_eos() -> None:
    text = "hello there how are you today " * 40
    blocks = tokenize_text(TOKENIZER, text, 64)
    plain = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert [token for block in blocks for token in block.ids] == [*plain, EOS][: sum(len(b.ids) for b in blocks)]
    assert all(len(block.ids) == 64 for block in blocks[:-1])
    assert all(all(block.is_label) and len(block.is_label) == len(block.ids) for block in blocks)
    assert not any(block.cut for block in blocks)


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [(64, [64]), (64 + 15, [64]), (64 + 16, [64, 16]), (130, [64, 64]), (15, []), (16, [16])],
)
def test_a_short_rest_is_dropped(tokens: int, lengths: list[int]) -> None:
    assert SHORTEST_BLOCK == 16
    blocks = tokenize_text(TOKENIZER, "Z" * (tokens - 1), 64)  # Z is merged with nothing; eos is one more
    assert [len(block.ids) for block in blocks] == lengths
    if lengths and sum(lengths) == tokens:
        assert blocks[-1].ids[-1] == EOS


def test_blocks_may_be_shorter_than_the_shortest_rest() -> None:
    assert [len(block.ids) for block in tokenize_text(TOKENIZER, "Z" * 19, 8)] == [8, 8]
    assert [len(block.ids) for block in tokenize_text(TOKENIZER, "Z" * 15, 8)] == [8, 8]


def test_eos_is_not_doubled() -> None:
    (block,) = tokenize_text(TOKENIZER, "Z" * 30 + "<|im_end|>", 64)
    assert block.ids.count(EOS) == 1


def test_a_document_begins_with_bos_when_the_tokenizer_says_so() -> None:
    blocks = tokenize_text(make_tokenizer(CHATML, bos=True), "Z" * 40, 16)
    assert blocks[0].ids[0] == TOKENIZER.bos_token_id
    assert blocks[1].ids[0] != TOKENIZER.bos_token_id
