"""`sweep sanity`: checks rows and schedule, trains one trial on a few rows, says whether it learns them by heart."""

from rich.console import Console

from sweep import header, sanity_words
from sweep.launchers.local import LocalLauncher
from sweep.options import SweepOptions
from sweep.overfitting import judge
from sweep.sanity import MakeLauncher, check, launch, prepare, train
from sweep.say import say

PASSED, FAILED, INTERRUPTED = 0, 1, 130


def sanity_command(options: SweepOptions, make_launcher: MakeLauncher = LocalLauncher) -> int:
    """Runs the sanity test; the exit status: 0 when it over-fits, 1 when it does not.

    Args:
        options: What is asked for; those of a study play no part.
        make_launcher: Makes what runs the trial.
    """
    console, asked = Console(), check(options)
    say(console, [header.loading(asked.options, [asked.slot])], indent=header.INDENT)
    launcher = launch(asked, make_launcher)
    try:
        trial = prepare(asked, launcher.ready())
        say(console, sanity_words.opening(trial), indent=header.INDENT)
        reports = []
        for report in train(trial, launcher):
            reports.append(report)
            say(console, [sanity_words.pass_line(report)])
        found = judge(reports)
        say(console, sanity_words.verdict(found, trial, reports))
        return PASSED if found.passed else FAILED
    except KeyboardInterrupt:
        say(console, ["stopped; nothing is left behind"])
        return INTERRUPTED
    finally:
        launcher.close()
