"""What a study was asked for, how far it is and what it ran with, in words: for the report and for the dashboard."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import optuna

from sweep.findings import Findings
from sweep.machine import kept_machine
from sweep.numbers import number
from sweep.study import FROM
from sweep.summary import Fact


def status(read: Findings) -> str:
    """How many trials are in which state, and when this was read."""
    states = [row["state"] for row in read.rows]
    counted = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    going = "running" in states or "parked" in states
    return f"{'Still running' if going else 'Not running'} as of {when}: {counted or 'no trial yet'}."


def asked(read: Findings, where: str = "") -> list[Fact]:
    """Space, model, data and budget; `where` is the database, if that is to be told."""
    identity, source = read.identity, read.source
    budget = identity["budget"]
    facts = [("space", f"{identity['space']['name']}, stage {read.space.get('stage', '?')}")]
    for label, key in (("model", "model"), ("data", "data")):
        if identity.get(key):
            facts.append((label, str(identity[key]["name"])))
    if source.get(FROM):
        origin = source[FROM]
        facts.append(("starts from", f"trial {origin['trial']} of study {origin['study']}, merged into its model"))
    if budget and budget.get("evaluations"):
        rows = budget.get("max_rows")
        length = f"{rows:,} training rows" if rows else "num_train_epochs over all training rows"
        told = f"{length} a trial, {budget['evaluations']} evaluations, cut at {budget['cutoff_len']:,} tokens"
        facts.append(("budget", told))
    if read.space.get("scaled"):
        facts.append(("learning rates", str(read.space["scaled"])))
    fixed = read.space.get("fixed") or {}
    if fixed:
        facts.append(("held fixed", ", ".join(f"{knob} {plain_value(value)}" for knob, value in fixed.items())))
    facts.append(("design", str(identity.get("design", "?"))))
    return [*facts, ("database", where)] if where else facts


def environment(study: optuna.Study, read: Findings) -> list[Fact]:
    """Versions, machine and fingerprints: what must be the same for the losses to come out again."""
    identity, machine = read.identity, kept_machine(study)
    facts = [("LoRA Sweep", str(identity.get("code", "?"))), ("seed", str(identity.get("seed", "?")))]
    for label, key in (("space", "space"), ("model", "model"), ("data", "data")):
        print_ = (identity.get(key) or {}).get("fingerprint")
        if print_:
            facts.append((f"{label}'s fingerprint", str(print_)))
    facts += [(key, str(value)) for key, value in (identity.get("budget") or {}).items()]
    if machine is not None:
        gpus = ", ".join(gpu.name for gpu in machine.gpus) or "no GPU"
        facts.append(("machine", f"{machine.host}: {gpus}, {machine.cores} cores, {machine.memory_bytes >> 30} GiB"))
        facts.append(("versions", ", ".join(f"{name} {told}" for name, told in machine.versions.items())))
        facts += [("dtype", machine.dtype)] if machine.dtype else []
    for label, key in (("MODEL", "model"), ("DATASET", "dataset"), ("SPACE", "space")):
        if read.source.get(key):
            facts.append((label, str(read.source[key])))
    return facts


def knobs(space: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was searched, and where."""
    return [(knob, _range(plain)) for knob, plain in space.get("search", {}).items()]


def _range(plain: Mapping[str, Any]) -> str:
    """What a knob may be, from its plain form in a space."""
    text = ", ".join(map(plain_value, plain.get("choice", ())))
    for kind in ("float", "int"):
        if kind in plain:
            low, high = plain[kind]
            text = f"{number(float(low))} to {number(float(high))}{', by its logarithm' if plain.get('log') else ''}"
    return text + (f", when {plain['when']}" if plain.get("when") else "")


def plain_value(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return number(value) if isinstance(value, float) else str(value)
