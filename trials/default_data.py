"""The data sets that arrive as packages, so that nothing need be downloaded: small talk, and Python's help.

Importing them does no work: chitchat's rows lie in a JSON file that is read as such, pydoc's in a plain dict.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trials.errors import DataError
from trials.forms import Chat, Message, Role, Row, Text, tidy_chat

_CHITCHAT_PACKAGE = "chitchat-dataset"


def default_rows(name: str) -> list[Row | None]:
    """Read a default data set.

    Args:
        name: "chitchat" for chats (the BYU Chit Chat Challenge: two people, 1 to about 150 turns), "pydoc"
            for the texts of `pydoc_data.topics`, one a topic.

    Returns:
        A row for each dialogue or topic; None for one that cannot be used (a dialogue that nobody answered).

    Raises:
        DataError: The package is missing or its file is not what it should be.
    """
    if name == "pydoc":
        topics = _pydoc_topics()
        return [Text(topics[topic]) if topics[topic].strip() else None for topic in sorted(topics)]
    path = _chitchat_file()
    try:
        dialogues = json.loads(path.read_bytes())
        return [_to_chat(dialogue["messages"]) for dialogue in dialogues.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}): pip install --force-reinstall {_CHITCHAT_PACKAGE}") from error


def default_version(name: str) -> str:
    """Return what identifies a default data set's content: the package's version, or the help texts' digest.

    Raises:
        DataError: The package is missing.
    """
    if name == "pydoc":  # its texts change with Python, but not with each Python
        return hashlib.sha256(json.dumps(sorted(_pydoc_topics().items())).encode()).hexdigest()
    _chitchat_file()
    return importlib.metadata.version(_CHITCHAT_PACKAGE)


def to_messages(chat: Chat) -> list[dict[str, str]]:
    """Return a chat as the list of role and content that chat templates take."""
    return [{"role": message.role, "content": message.content} for message in chat.messages]


def _to_chat(turns: Sequence[Sequence[Mapping[str, Any]]]) -> Chat | None:
    """Make a chat of a dialogue: its turns alternate, each a list of utterances; the first speaker asks."""
    roles: tuple[Role, Role] = ("user", "assistant")
    return tidy_chat(
        Message(roles[number % 2], "\n".join(utterance["text"] for utterance in turn))
        for number, turn in enumerate(turns)
    )


def _chitchat_file() -> Path:
    spec = importlib.util.find_spec("chitchat_dataset")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "dataset.json"
        if path.is_file():
            return path
    raise DataError(f"the default chats are not installed: pip install {_CHITCHAT_PACKAGE}, or give a data set")


def _pydoc_topics() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:  # some slim Pythons leave it out
        raise DataError("this Python has no pydoc_data.topics, the default texts: give a data set") from error
    found: Mapping[str, str] = topics
    return found
