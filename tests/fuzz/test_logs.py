"""Logs of any content, and settings files beside them: read, diagnosed and drawn, or refused in a line."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.diagnosis_plots import diagnosis_picture
from sweep.diagnosis_words import heading, words
from tests.fuzz.bounds import EXAMPLES, fuzzed, refusing
from tests.fuzz.values import EDGES, anything, edges, spoilt
from trials.diagnosis import diagnose
from trials.log_settings import ADAPTER, ARGUMENTS, CARD, settings_beside
from trials.logs import read_log

LINES: list[dict[str, Any]] = [
    record
    for step in range(10, 130, 10)
    for record in (
        {"current_steps": step, "total_steps": 120, "loss": 3 - step / 100, "lr": 1e-4, "epoch": step / 60},
        *(
            [{"current_steps": step, "total_steps": 120, "eval_loss": 2.5, "epoch": step / 60}]
            if step % 40 == 0
            else []
        ),
    )
]
STATE: dict[str, Any] = {
    "max_steps": 120,
    "log_history": [
        record
        for step in range(10, 130, 10)
        for record in (
            {"step": step, "loss": 3 - step / 100, "learning_rate": 1e-4, "grad_norm": 1.5, "epoch": step / 60},
            {"step": step, "eval_loss": 2.5, "eval_chats_loss": 2.1, "epoch": step / 60},
        )
    ],
}
SETTINGS: dict[str, Any] = {"learning_rate": 1e-4, "lora_rank": 8, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1}


def _text(value: Any) -> str:
    """JSON, in which numbers may be larger than any type holds."""
    return json.dumps(value, default=str)


def _try(folder: Path, content: bytes) -> None:
    log = folder / "trainer_log.jsonl"
    log.write_bytes(content)
    with refusing():
        for curve in read_log(log):
            found = diagnose(curve, settings_beside(log))
            json.dumps(found.to_dict())
            assert all(line.isprintable() for line in [*words(found), heading("log", curve)])


@fuzzed
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_content(content: bytes, tmp_path: Path) -> None:
    _try(tmp_path, content)


@fuzzed
@given(
    records=st.lists(anything, max_size=5), keys=st.lists(st.sampled_from(["loss", "eval_loss", "step", "eval_x_loss"]))
)
def test_any_records(records: list[Any], keys: list[str], tmp_path: Path) -> None:
    named = [*records, *({key: record} for key, record in zip(keys, records, strict=False))]
    _try(tmp_path, "\n".join(_text(record) for record in named).encode("utf8", "surrogatepass"))
    _try(tmp_path, _text({"log_history": named, "max_steps": records[:1]}).encode("utf8", "surrogatepass"))


@fuzzed
@given(data=st.data())
def test_logs_with_wrong_values_in_any_place(data: st.DataObject, tmp_path: Path) -> None:
    lines = data.draw(spoilt(copy.deepcopy(LINES), 4))
    _try(tmp_path, "\n".join(map(_text, lines)).encode("utf8", "surrogatepass"))
    _try(tmp_path, _text(data.draw(spoilt(copy.deepcopy(STATE), 4))).encode("utf8", "surrogatepass"))


@fuzzed
@given(data=st.data())
def test_logs_that_are_cut_and_overwritten(data: st.DataObject, tmp_path: Path) -> None:
    content = data.draw(
        st.sampled_from(["\n".join(map(_text, LINES)), _text(STATE), json.dumps(STATE, indent=1)])
    ).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.sampled_from((0, 1, 30, 10_000))))
        put = data.draw(st.one_of(st.binary(max_size=6), edges.map(lambda edge: _text(edge).encode())))
        content = content[:start] + put + content[end:]
    _try(tmp_path, content)


@fuzzed
@given(data=st.data(), name=st.sampled_from([*ARGUMENTS, ADAPTER, CARD]))
def test_settings_beside_a_log(data: st.DataObject, name: str, tmp_path: Path) -> None:
    raw = data.draw(st.one_of(anything, spoilt(copy.deepcopy(SETTINGS))))
    rows = raw.items() if isinstance(raw, dict) else ()
    card = "\n".join(f"- {key}: {value}" for key, value in rows)
    written = {ADAPTER: _text(raw), CARD: card}.get(name) or yaml.safe_dump(raw)
    (tmp_path / name).write_bytes(written.encode("utf8", "surrogatepass"))
    _try(tmp_path, "\n".join(map(_text, LINES)).encode())
    (tmp_path / name).unlink()


@settings(fuzzed, max_examples=EXAMPLES // 10 or 8)
@given(name=st.one_of(st.text(max_size=10), st.sampled_from([edge for edge in EDGES if isinstance(edge, str)])))
def test_pictures_of_evaluation_sets_of_any_name(name: str, tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    log.write_text("\n".join(_text({**line, f"eval_{name}_loss": 2.0}) for line in LINES), encoding="utf8")
    for curve in read_log(log):
        diagnosis_picture(tmp_path / "curve.png", curve, diagnose(curve, settings_beside(log)), name, "here")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
