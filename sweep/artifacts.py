"""What optuna-dashboard shows of a trial beside its numbers: curve picture, log, settings, and a note."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna_dashboard import save_note

from sweep.advice import advice_of
from sweep.artist import Artist, Picture
from sweep.markdown import literal
from sweep.store import open_store
from sweep.trial_diagnosis import note_lines
from sweep.trial_files import CONFIG, CURVE, LOG, logged_steps
from sweep.uploads import Uploads
from trials.curve import LearningCurve
from trials.finding import Diagnosis


class Artifacts:
    """Hands a trial's files to the dashboard, by way of a store.

    Optuna takes no artifact once a trial has ended, and a trial's end does not wait for its picture: that is made known
    before it is drawn.
    """

    def __init__(self, output: Path, address: str = "", tell: Callable[[str], None] = lambda _: None) -> None:
        """Opens the store.

        Args:
            output: The output folder.
            address: ARTIFACTS; empty for a folder in the output folder.
            tell: Called once when the store fails, with what a user should know.
        """
        self._output, self._address = output, address
        self.store = open_store(address, output)
        self.uploads = Uploads(
            lambda reason: tell(
                f"ARTIFACTS {self.store.name} cannot be reached ({reason}): the sweep goes on, "
                f"and the files are in {output}"
            )
        )
        self._artist = Artist()

    def add(
        self,
        trial: optuna.Trial,
        folder: Path,
        curve: LearningCurve,
        *,
        title: str,
        state: str,
        reason: str,
        diagnosis: Diagnosis | None = None,
    ) -> None:
        """Uploads the files, has the curve drawn and writes the note. To be called before the trial is told.

        Args:
            trial: The trial, still running for Optuna: a finished one takes no artifacts.
            folder: Where its files are.
            curve: Its reports.
            title: Its settings in a line.
            state: How it ended.
            reason: Why, in words; empty when there is nothing to say.
            diagnosis: What its curve shows.
        """
        picture = folder / CURVE
        pruned = state == "pruned"
        settings = {
            "reports": list(curve.reports),
            "title": f"trial {trial.number}: {title}",
            "training": logged_steps(folder),
            "subtitle": f"{state}: {reason}" if reason and not pruned else state,
            "prune_reason": reason if pruned else "",
        }
        folder.mkdir(parents=True, exist_ok=True)
        picture.touch()
        known = _make_known(trial, picture)
        self._artist.draw(Picture(picture, self._address, self._output, known, settings))
        for file in (folder / LOG, folder / CONFIG):
            if file.exists():  # a trial that failed before its first step has no log
                self._upload(_make_known(trial, file), file)
        advice = advice_of(trial)
        save_note(
            trial,
            "\n".join(
                [
                    _note(title, state, reason, curve),
                    *(
                        ["", f"Advised: {literal(advice.words())}, for trial {advice.parent}'s {advice.kind}."]
                        if advice
                        else []
                    ),
                    *(note_lines(diagnosis) if diagnosis else ()),
                ]
            ),
        )

    def finish(self) -> str:
        """Waits until every picture is drawn and all is uploaded; what a user should know of it.

        Raises:
            OSError: A picture could not be written.
        """
        died, reason = self._artist.finish()
        if reason:
            self.uploads.fail(reason)
        self.uploads.finish()
        return died

    def _upload(self, name: str, file: Path) -> None:
        self.uploads.put(name, lambda: self.store.put(name, file))


class _Later:
    """Takes an artifact's name; what is in it comes later."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Writes nothing."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Has nothing to read."""
        raise ArtifactNotFound(artifact_id)

    def remove(self, artifact_id: str) -> None:
        """Has nothing to remove."""


def _make_known(trial: optuna.Trial, file: Path) -> str:
    """Has Optuna list a file with the trial; its name in the store."""
    return upload_artifact(artifact_store=_Later(), file_path=str(file), study_or_trial=trial)


def _note(title: str, state: str, reason: str, curve: LearningCurve) -> str:
    lines = [f"**{state}**: {literal(reason)}" if reason else f"**{state}**", "", literal(title)]
    best = curve.best
    if best is not None:
        lines += [
            "",
            f"Best evaluation loss {best.eval_loss:.4f} nats per token, at evaluation {best.evaluation} of "
            f"{best.total_evaluations} (step {best.step}).",
        ]
    return "\n".join(lines)
