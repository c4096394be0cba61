"""Whether a chat template's special tokens are known to be such."""

from dataclasses import replace
from typing import Any

import pytest

from tests.trials.tiny_tokenizer import CHATML, PLAIN, STRICT, make_tokenizer
from trials.row_checks import RowFacts
from trials.token_checks import TokenFacts, stopping_ids, token_facts

TOKENIZER = make_tokenizer()
END = TOKENIZER.eos_token_id
ROWS = RowFacts(0, 0.0, 0.1, 0.0, 0.0, ((END, 1.0),), 10)
STOPS = {END}


def facts(
    template: str = CHATML, rows: RowFacts = ROWS, vocab_size: int = 10_000, stops: set[int] = STOPS
) -> TokenFacts:
    return token_facts(make_tokenizer(template), stops, vocab_size, rows)


def test_the_models_own_template_is_known() -> None:
    assert facts() == TokenFacts(("<|im_start|>", "<|im_end|>"), (), "<|im_end|>", 1.0)


@pytest.mark.parametrize("marker", ["<|eot_id|>", "<｜end▁of▁sentence｜>", "<end_of_turn>", "</s>", "<eos>"])
def test_another_models_end_of_turn_is_unknown(marker: str) -> None:
    found = facts(CHATML.replace("<|im_end|>", marker))
    assert (found.markers, found.unknown) == (("<|im_start|>", marker), (marker,))


@pytest.mark.parametrize("text", ["[INST]", "<think>", "<b>", "a < b", "### User:"])
def test_what_some_models_take_for_text_is_no_marker(text: str) -> None:
    assert facts(CHATML.replace("<|im_start|>", text)).markers == ("<|im_end|>",)


def test_a_token_that_the_model_has_no_embedding_for_is_unknown() -> None:
    assert facts(vocab_size=END).unknown == ("<|im_end|>",)
    assert facts(vocab_size=END + 1).unknown == ()


def test_a_token_that_the_tokenizer_reads_as_its_unknown_one_is_unknown() -> None:
    tokenizer = make_tokenizer(unk_token="<|im_start|>")
    assert token_facts(tokenizer, STOPS, 10_000, ROWS).unknown == ("<|im_start|>",)


def test_markers_of_a_question_and_an_answer_are_enough() -> None:
    refusing = "{{ raise_exception('three turns at least') if messages | length < 3 else '<|eot_id|>' }}"
    assert facts(refusing).markers == ()
    assert facts(STRICT).markers == ("<|im_end|>",)
    assert facts(PLAIN).markers == ()


@pytest.mark.parametrize(
    ("ends", "end", "share"),
    [
        (((END, 0.9), (300, 0.1)), "<|im_end|>", 0.9),
        (((END, 0.5), (0, 0.5)), "<|im_end|>", 0.5),
        ((), "", 0.0),
    ],
)
def test_the_share_of_answers_that_stop_is_told(ends: Any, end: str, share: float) -> None:
    found = facts(rows=replace(ROWS, ends=ends))
    assert (found.end, found.stopping_share) == (end, share)


def test_answers_may_end_with_any_token_that_stops() -> None:
    assert facts(rows=replace(ROWS, ends=((END, 0.5), (0, 0.5))), stops={END, 0}).stopping_share == 1.0


@pytest.mark.parametrize(("listed", "expected"), [(None, {END}), (7, {END, 7}), ([7, 8], {END, 7, 8}), ([END], {END})])
def test_generation_stops_at_the_models_tokens_and_the_tokenizers(listed: Any, expected: set[int]) -> None:
    assert stopping_ids(TOKENIZER, listed) == expected


def test_a_tokenizer_without_eos_stops_nothing() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    assert stopping_ids(tokenizer, None) == set()
