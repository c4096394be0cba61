"""Puts new numbers into what refers to trials by their number, where a merge had to give them others."""

import json
import re
from collections.abc import Mapping
from typing import Any

from sweep.advice import ADVICE
from sweep.audit import AUDITED

_NUMBER = re.compile(r"\btrial (\d+)\b")


def renumber_words(numbers: Mapping[int, int], words: str) -> str:
    """A text with new numbers.

    Args:
        numbers: The new number of each trial, by its old one; others stay.
        words: Where they are called "trial 7".
    """
    return _NUMBER.sub(lambda found: f"trial {numbers.get(int(found[1]), int(found[1]))}", words)


def renumber(numbers: Mapping[int, int], key: str, value_json: str) -> str:
    """An attribute's value, as Optuna keeps it, with new numbers.

    Args:
        numbers: As above.
        key: The attribute's key.
        value_json: JSON text.
    """
    value: Any = json.loads(value_json)
    if (key == "reason" or key.startswith("dashboard:")) and isinstance(value, str):
        value = renumber_words(numbers, value)
    elif key == AUDITED:
        value = value | {"reason": renumber_words(numbers, value["reason"])}
    elif key == ADVICE:
        value = value | {"parent": numbers.get(value["parent"], value["parent"])}
    elif key == "failed_trial":
        value = numbers.get(value, value)
    elif key == "retry_history":
        value = [numbers.get(number, number) for number in value]
    else:
        return value_json
    return json.dumps(value)
