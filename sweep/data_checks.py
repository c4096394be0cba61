"""Whether template, labels and cut suit the model and the data: what the worker found, in words (guide 2.4).

The guide asks for "template-model compatibility, correct field mapping" and gives no numbers; the shares from which a
finding is called a fault are this program's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.checks import Check

# More rows than this that are dropped, empty or without a proper end are no accident of a few bad rows.
FEW = 0.05
# Of rows whose answers are all cut; fewer leave enough whole ones to learn the end from.
MOST_ENDLESS = 0.2
# Of rows with one and the same answer; a column of two classes may well have nine of ten rows in one.
MOST_ALIKE = 0.95
# Below so many rows a share says little.
LEAST_ROWS = 20


@dataclass(frozen=True)
class _Told:
    """What a worker told of data, tokens and cut, as `Ready.data` has it."""

    data: Mapping[str, Any]
    rows: Mapping[str, Any]
    tokens: Mapping[str, Any]


def data_checks(data: Mapping[str, Any]) -> list[Check]:
    """The checks of stage sft; in stage pt every token is a label, and nothing ends but the documents.

    Args:
        data: As `trials.protocol.Ready` has it.
    """
    if data["checks"] is None:
        return [Check("labels", f"every token of {data['train_rows']:,} rows")]
    told = _Told(data, data["checks"], data["tokens"])
    return [_template(told), _ends(told), _labels(told), _cut(told)]


def _template(told: _Told) -> Check:
    markers, unknown = told.tokens["markers"], told.tokens["unknown"]
    if unknown:
        listed = ", ".join(unknown)
        fault = (
            f"the chat template writes {listed}, which tokenizer and model do not know as one token: it is read piece "
            "by piece. Take the tokenizer and the template that belong to the model"
        )
        return Check("template", f"the tokenizer's own; {listed} not known", (fault,))
    if not markers:
        return Check("template", "the tokenizer's own, which writes no special tokens")
    return Check("template", f"the tokenizer's own; tokenizer and model know {', '.join(markers)}")


def _ends(told: _Told) -> Check:
    end, stopping = told.tokens["end"], told.tokens["stopping_share"]
    if not end:
        return Check("ends", "no answer is whole")  # the cut is at fault
    if stopping >= 1 - FEW:
        return Check("ends", f"answers end with {end}, at which the model stops")
    fault = (
        f"{percent(1 - stopping)} of answers do not end with a token at which the model stops (most end with {end!r}), "
        "so that it would not learn to stop: check the template's end of a turn, eos_token and generation_config.json"
    )
    return Check("ends", f"{percent(stopping)} of answers end with a token at which the model stops", (fault,))


def _labels(told: _Told) -> Check:
    rows, kept = told.rows, told.data["train_rows"] + told.data["eval_rows"]
    dropped, empty, same = rows["unlabelled"], rows["empty_share"], rows["same_share"]
    found = []
    if dropped > FEW * (kept + dropped):
        found.append(
            f"{dropped:,} of {kept + dropped:,} rows were dropped, as no word of an answer lies within cutoff_len "
            f"{told.data['cutoff_len']}. {_longer(told)}"
        )
    if empty > FEW:
        found.append(
            f"{percent(empty)} of rows have an empty answer, one label token at most: check which columns are read and "
            "what the template does with an answer"
        )
    if same > MOST_ALIKE and told.data["train_rows"] >= LEAST_ROWS:
        found.append(f"{percent(same)} of rows have the same answer: check which column is read as the answer")
    without = f"{dropped:,} rows without any dropped" if dropped else "no row without any"
    return Check("labels", f"{percent(told.data['label_share'])} of tokens are answers', {without}", tuple(found))


def _cut(told: _Told) -> Check:
    cut, inside = told.data["cut_share"], told.rows["cut_in_answer_share"]
    length = told.data["cutoff_len"]
    if not cut:
        return Check("cut", f"no row is longer than cutoff_len {length}")
    found = f"{percent(cut)} of rows at cutoff_len {length}, {percent(inside)} inside an answer"
    if told.rows["fitting_cutoff_len"] > length:
        found += f"; {told.rows['fitting_cutoff_len']:,} would hold 95 % of rows whole"
    endless = told.rows["endless_share"]
    if endless <= MOST_ENDLESS:
        return Check("cut", found)
    fault = f"cutoff_len {length} ends {percent(endless)} of rows before an answer does: they do not teach to stop"
    return Check("cut", found, (f"{fault}. {_longer(told)}",))


def _longer(told: _Told) -> str:
    return f"SET=cutoff_len={told.rows['fitting_cutoff_len']} would hold 95 % of rows whole"


def percent(share: float) -> str:
    """A share for people; what is not nothing is no zero, and what is not all no hundred."""
    if 0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"
