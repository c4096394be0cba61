"""Reads the logs of fine-tuning runs: LLaMA-Factory's `trainer_log.jsonl`, transformers' `trainer_state.json`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trials.log_records import NotALog, Records, read_records
from trials.log_runs import number, split_runs, whole
from trials.logged import LoggedCurve

LINES, STATE = "trainer_log.jsonl", "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# What a trainer writes beside its points when it has nothing to say of losses.
_PROGRESS = {"current_steps", "total_steps", "percentage", "elapsed_time"}


def read_log(path: Path) -> list[LoggedCurve]:
    """The runs of one log, oldest first: nearly always one.

    Raises:
        NotALog: The file is no log of losses; the message says in one line what it is.
    """
    found = read_records(path)
    _refuse_rewards(found)
    runs = [run for run in split_runs(found.records, whole(found.head.get("max_steps"))) if _points(run)]
    if not runs:
        raise NotALog(_no_losses(found))
    if len(runs) == 1 and _points(runs[0]) == 1 and not runs[0].training:
        raise NotALog("a single evaluation and no training loss: there is no curve")
    runs[0] = replace(runs[0], notes=(*found.notes, *runs[0].notes))
    return runs


def find_logs(folder: Path) -> list[Path]:
    """The logs under a folder, one a run: a line log before a state, and either before its checkpoints' states.

    Raises:
        NotALog: There is none.
    """
    folders = {path.parent for name in (LINES, STATE) for path in folder.rglob(name) if path.is_file()}
    chosen: dict[Path, tuple[int, Path]] = {}
    for place in sorted(folders):
        match = _CHECKPOINT.fullmatch(place.name)
        if match and place != folder:
            candidate, run = (int(match[1]), place / _best_name(place)), place.parent
            if run in folders:
                continue
        else:
            candidate, run = (0, place / _best_name(place)), place
        if run not in chosen or candidate[0] > chosen[run][0]:
            chosen[run] = candidate
    if not chosen:
        raise NotALog(f"no {LINES} and no {STATE} in this folder")
    return [path for _, (_, path) in sorted(chosen.items())]


def _best_name(folder: Path) -> str:
    return LINES if (folder / LINES).is_file() else STATE


def _points(run: LoggedCurve) -> int:
    return len(run.training) + sum(map(len, run.evaluations.values()))


def _refuse_rewards(found: Records) -> None:
    """Reinforcement learning's loss says nothing of learning: it stays near zero while rewards rise.

    Raises:
        NotALog: The records have rewards. Preference tuning's `rewards/chosen` do not count: its loss is one.
    """
    rewarded = sum(number(record["reward"]) is not None for record in found.records if "reward" in record)
    if rewarded and rewarded * 2 >= sum(number(record.get("loss")) is not None for record in found.records):
        raise NotALog("rewards of reinforcement learning (GRPO, PPO): its loss does not show whether it learns")


def _no_losses(found: Records) -> str:
    records: Sequence[Mapping[str, Any]] = found.records
    if found.head:
        if not records:
            return "a trainer state without a history: logging_steps was longer than the run"
        return f"a trainer state whose {len(records)} records hold no loss"
    if any(_PROGRESS & set(record) for record in records):
        return f"{len(records)} lines of progress without a loss, as an evaluation or a prediction writes them"
    keys = list(records[0]) if records else []
    named = ", ".join(str(key)[:40] for key in keys[:4]) + (", …" if len(keys) > 4 else "")
    return f"JSON, but no log: no loss in it ({f'its keys: {named}' if keys else 'no records'})"
