"""What optuna-dashboard shows of a trial beside its numbers: curve picture, log, settings, and a note."""

import contextlib
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna_dashboard import save_note

from sweep.advice import advice_of
from sweep.artist import Artist, Picture
from sweep.markdown import literal
from sweep.trial_diagnosis import note_lines
from sweep.trial_files import CONFIG, CURVE, LOG, logged_steps
from trials.curve import LearningCurve
from trials.finding import Diagnosis

FOLDER = "artifacts"


class Artifacts:
    """Hands a trial's files to the dashboard. Files go to `artifacts/` in the output folder.

    Optuna takes no artifact once a trial has ended, and a trial's end does not wait for its picture: that is made known
    before it is drawn.
    """

    def __init__(self, output: Path) -> None:
        self._store = artifact_store(output)
        self._folder = output / FOLDER
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
        known = upload_artifact(artifact_store=_Later(), file_path=str(picture), study_or_trial=trial)
        self._artist.draw(Picture(picture, self._folder / known, settings))
        for file in (folder / LOG, folder / CONFIG):
            # A trial that failed before its first step has no log.
            with contextlib.suppress(FileNotFoundError):
                upload_artifact(artifact_store=self._store, file_path=str(file), study_or_trial=trial)
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
        """Waits until every picture is drawn; what a user should know of it.

        Raises:
            OSError: One could not be written.
        """
        return self._artist.finish()


class _Later(FileSystemArtifactStore):
    """Takes an artifact's name; what is in it comes when it is drawn."""

    def __init__(self) -> None:
        """Has no folder, as nothing is written."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Writes nothing."""


def artifact_store(output: Path) -> FileSystemArtifactStore:
    """The store that a dashboard reads."""
    (output / FOLDER).mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(str(output / FOLDER))


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
