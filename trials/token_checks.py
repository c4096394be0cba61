"""Whether tokenizer, chat template and model know the same special tokens (guide 2.4: "template‑model compatibility").

Torch-free: knows a tokenizer by its methods only.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from trials.row_checks import RowFacts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How special tokens are spelt that no model takes for text: <|im_end|>, <｜User｜>, <start_of_turn>, <s>, <eos>.
# Others, like [INST] and <think>, are plain text to some models.
_MARKER = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos)>")
_SAMPLE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What the chat template's special tokens are to tokenizer and model; JSON-able.

    Attributes:
        markers: Special tokens that the chat template writes, in their order.
        unknown: Those that are not one token of the tokenizer's and the model's.
        end: The token that ends most answers; empty when none is whole.
        stopping_share: Share of the whole answers that end with a token at which generation stops.
    """

    markers: tuple[str, ...]
    unknown: tuple[str, ...]
    end: str
    stopping_share: float


def token_facts(
    tokenizer: "PreTrainedTokenizerBase", stops: Collection[int], vocab_size: int, rows: RowFacts
) -> TokenFacts:
    """Look at what the chat template writes.

    Args:
        tokenizer: With a chat template.
        stops: Token ids at which the model's generation stops.
        vocab_size: Rows of the model's embedding.
        rows: What ends the answers.
    """
    try:
        rendered = str(tokenizer.apply_chat_template(_SAMPLE, tokenize=False))
    except TemplateError:  # it may ask for more than a question and an answer
        rendered = ""
    markers = tuple(dict.fromkeys(_MARKER.findall(rendered)))
    return TokenFacts(
        markers=markers,
        unknown=tuple(marker for marker in markers if not _is_one_token(tokenizer, marker, vocab_size)),
        end=str(tokenizer.convert_ids_to_tokens(rows.ends[0][0])) if rows.ends else "",
        stopping_share=sum(share for token, share in rows.ends if token in stops),
    )


def stopping_ids(tokenizer: "PreTrainedTokenizerBase", eos_token_id: int | list[int] | None) -> set[int]:
    """Token ids at which generation stops.

    Args:
        tokenizer: Whose eos token stops it.
        eos_token_id: What the model's generation settings say.
    """
    listed = eos_token_id if isinstance(eos_token_id, list) else [eos_token_id]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


def _is_one_token(tokenizer: "PreTrainedTokenizerBase", marker: str, vocab_size: int) -> bool:
    ids = list(tokenizer(marker, add_special_tokens=False)["input_ids"])
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id and ids[0] < vocab_size
