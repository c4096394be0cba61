"""What rows are said to be like: answers that are empty, alike, cut, or without an end."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from tests.trials.tiny_tokenizer import PLAIN, make_tokenizer
from trials.forms import Chat, Message
from trials.row_checks import RowFacts, row_facts
from trials.tokenize import Tokenized, count_tokens, tokenize_chat

TOKENIZER = make_tokenizer()
END = TOKENIZER.eos_token_id


def row(ids: list[int], labels: str, cut_in_answer: bool = False) -> Tokenized:
    """Make a row; `labels` has an x for each label token."""
    return Tokenized(ids, [mark == "x" for mark in labels], cut_in_answer, cut_in_answer)


def facts(*rows: Tokenized, unlabelled: int = 0, lengths: tuple[int, ...] = (10,)) -> RowFacts:
    return row_facts(rows, unlabelled, lengths)


GOOD = [row([1, 5, number, END], "..xx") for number in range(10, 20)]


def test_good_rows_have_nothing_to_tell() -> None:
    assert facts(*GOOD) == RowFacts(0, 0.0, 0.1, 0.0, 0.0, ((END, 1.0),), 10)


def test_answers_of_an_end_marker_alone_are_empty() -> None:
    assert facts(*GOOD[:6], row([1, END], ".x"), row([1, 7, END], "..x")).empty_share == 0.25


def test_the_same_answer_to_other_questions_is_the_same() -> None:
    found = facts(row([1, 9, END], ".xx"), row([2, 9, END], ".xx"), row([3, 8, END], ".xx"), row([9, 9, END], "..x"))
    assert found.same_share == 0.5


def test_a_cut_answer_is_endless_unless_another_one_ended() -> None:
    alone = row([1, 5, 6], ".xx", cut_in_answer=True)
    second = row([1, 5, END, 1, 6], ".xx.x", cut_in_answer=True)
    found = facts(alone, second, *GOOD[:2])
    assert (found.cut_in_answer_share, found.endless_share) == (0.5, 0.25)


def test_a_cut_answer_says_nothing_of_ends() -> None:
    found = facts(*GOOD[:3], row([1, 5, 7], ".xx"), row([1, 8], ".x", cut_in_answer=True))
    assert found.ends == ((END, 0.75), (7, 0.25))
    assert facts(row([1, 8], ".x", cut_in_answer=True)).ends == ()


def test_the_last_label_ends_an_answer_and_not_the_last_token() -> None:
    assert facts(row([1, 5, END, 4], ".xx.")).ends == ((END, 1.0),)


@pytest.mark.parametrize(
    ("lengths", "fitting"), [(range(1, 101), 95), (range(1, 21), 19), (range(1, 20), 19), ([7], 7), ([9, 1, 5], 9)]
)
def test_nineteen_of_twenty_rows_fit(lengths: Any, fitting: int) -> None:
    assert facts(*GOOD, lengths=tuple(lengths)).fitting_cutoff_len == fitting


def test_facts_survive_json() -> None:
    found = replace(facts(*GOOD), ends=((END, 0.5), (7, 0.5)))
    assert RowFacts.from_dict(json.loads(json.dumps(asdict(found)))) == found


# --- where a chat is cut

TURNS = [("user", "hello there"), ("assistant", "how are you today"), ("user", "good"), ("assistant", "morning")]
CHAT = Chat(tuple(Message(role, text) for role, text in TURNS))  # type: ignore[arg-type]


def test_a_chat_is_cut_inside_an_answer_exactly_where_a_label_follows_a_label() -> None:
    whole = tokenize_chat(TOKENIZER, CHAT, 10_000)
    assert not whole.cut_in_answer
    for cutoff_len in range(1, len(whole.ids)):
        expected = whole.is_label[cutoff_len - 1] and whole.is_label[cutoff_len]
        assert tokenize_chat(TOKENIZER, CHAT, cutoff_len).cut_in_answer == expected, cutoff_len
    assert any(whole.is_label[i] and whole.is_label[i + 1] for i in range(len(whole.ids) - 1))


@pytest.mark.parametrize("template", [None, PLAIN])
def test_a_chat_is_as_long_as_it_is_when_nothing_is_cut(template: str | None) -> None:
    tokenizer = make_tokenizer(template) if template else TOKENIZER
    assert count_tokens(tokenizer, CHAT) == len(tokenize_chat(tokenizer, CHAT, 10_000).ids)
