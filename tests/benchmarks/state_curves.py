"""Real curves of runs that were made healthy or sick: what each is by its outcome, and what `diagnose` says of it.

`python -m tests.benchmarks.state_curves [--part unseen]` prints a confusion matrix; it asserts nothing. The rules
were made on the curves of even seeds. Those of odd seeds were then looked at for a figure: 22 of 27 were right, and
three of six healthy runs were called under-fitted, since in what the rate adds up to they fell to their end. The rule
was mended, so that curves of seeds below `UNSEEN` are no longer unseen; those from there on were recorded after it.

How a run was made is not yet what it is: a rate ten times too high may do no harm. The label comes from the outcome,
measured on held-out rows against the model before training, which no log shows and `diagnose` never sees:

- not finite at the end, or `RUINED` nats or more above the untrained model: divergence. Where the rate was too high,
  oscillation is as right: the guide (2.1) has one cause and one remedy for both.
- rate too high, and held-out loss no better than half of what a healthy run gains: oscillation (or divergence).
- rate too low, and less than half of a healthy run's gain: under-fitting. Where the loss hardly moved, stagnation is as
  right: the guide's remedy (2.2, 2.4) is a higher rate in both.
- held-out loss `RISEN` nats or more above its best at the end: over-fitting. With random answers stagnation holds too;
  in a run made healthy, on its good rate's upper half, oscillation may be why.
- random answers otherwise: stagnation, at the loss of who knows nothing.
- all else: healthy, whatever it was made for; where it gained less than `UNFINISHED` of what a healthy run gains, it
  was too short, and under-fitting is as right.
"""

import argparse
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trials.diagnosis import diagnose
from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint

CURVES = Path(__file__).parents[1] / "data" / "state_curves" / "curves.jsonl"
RUINED = 0.5  # nats
RISEN = 0.05  # nats
UNFINISHED = 0.75
UNSEEN = 40  # the first seed
Line = dict[str, Any]


def read(path: Path = CURVES) -> list[Line]:
    """The recorded curves."""
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def parts(recorded: Sequence[Line]) -> dict[str, list[Line]]:
    """The curves that the rules were made on, and those that were looked at only for the figure."""
    return {
        "seen": [line for line in recorded if line["seed"] < UNSEEN],
        "unseen": [line for line in recorded if line["seed"] >= UNSEEN],
    }


def logged(line: Line) -> LoggedCurve:
    """What a log of the run would have held."""
    training = tuple(TrainingPoint(int(step), epoch, loss, rate) for step, epoch, loss, rate in line["training"])
    evaluations = tuple(EvaluationPoint(int(step), None, loss) for step, loss in line["evaluation"])
    return LoggedCurve(training, {"": evaluations}, line["total_steps"])


def usual_gain(recorded: Sequence[Line]) -> float:
    """What a run made healthy gains on held-out rows, in nats: the median."""
    return statistics.median(
        float(line["untrained"]) - min(float(loss) for _, loss in line["evaluation"])
        for line in recorded
        if line["state"] == "healthy"
    )


def labels(line: Line, gain: float) -> tuple[str, ...]:
    """What a curve is by its outcome; the first is the label, others are as right."""
    state, losses = line["state"], [loss for _, loss in line["evaluation"]]
    last, untrained = losses[-1], line["untrained"]
    too_high = state.endswith("high")
    if not math.isfinite(last) or last > untrained + RUINED:
        if too_high:
            return ("divergence", "oscillation")
        return ("over-fitting",) if math.isfinite(last) and last > min(losses) + RISEN else ("divergence",)
    if too_high:
        return ("oscillation", "divergence") if untrained - last < gain / 2 else ("healthy",)
    if state.endswith("low"):
        return ("under-fitting", "stagnation") if untrained - last < gain / 2 else ("healthy",)
    if last > min(losses) + RISEN:
        also = "stagnation" if state.startswith("random") else "oscillation"
        return ("over-fitting",) if state.startswith("few") else ("over-fitting", also)
    if state.startswith("random"):
        return ("stagnation",)
    return ("healthy", "under-fitting") if untrained - min(losses) < UNFINISHED * gain else ("healthy",)


def matrix(part: Sequence[Line], gain: float) -> dict[str, Counter[str]]:
    """For each label, how often which findings were said."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in part:
        found[labels(line, gain)[0]][" + ".join(diagnose(logged(line)).kinds)] += 1
    return found


def right(line: Line, gain: float) -> bool:
    """Whether all that is said of a curve is among its labels."""
    return set(diagnose(logged(line)).kinds) <= set(labels(line, gain))


def main() -> None:
    """Prints the matrix of a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("seen", "unseen"), default="unseen")
    parser.add_argument("--curves", type=Path, default=CURVES)
    asked = parser.parse_args()
    recorded = read(asked.curves)
    gain = usual_gain(recorded)
    part = parts(recorded)[asked.part]
    for label, said in sorted(matrix(part, gain).items()):
        print(f"{label:<14} {sum(said.values()):>3}   " + ", ".join(f"{kinds} {n}" for kinds, n in said.most_common()))
    wrong = [line for line in part if not right(line, gain)]
    print(f"right {len(part) - len(wrong)} of {len(part)}")
    for line in wrong:
        found = " + ".join(diagnose(logged(line)).kinds)
        print(f"  {line['state']} {line['seed']}: {' or '.join(labels(line, gain))}, said {found}")


if __name__ == "__main__":
    main()
