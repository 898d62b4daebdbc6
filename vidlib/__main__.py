"""The command line, ``python -m vidlib``: every word of it is also a function of the package."""

from __future__ import annotations

import argparse
import ast
import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from vidlib.checks import check_choice, check_counts, did_you_mean
from vidlib.files import print_anywhere

_PATH_VARIABLES = ("VIDLIB_DATA", "VIDLIB_RUNS", "VIDLIB_GIFS")


class _Screen:
    """A stream that goes on where nobody reads any more: work and what it saves do not depend on ``| head -1``."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._patience():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._patience():
            self._stream.flush()

    @contextmanager
    def _patience(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            closed = isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)
            if not closed:
                raise
            with suppress(OSError):  # from now on nowhere, what is still in the buffer too
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; what went wrong is one sentence and exit status 1."""
    options = argparse.Namespace(interrupted="nothing was begun.")
    print_anywhere()
    with redirect_stdout(_Screen(sys.stdout)), redirect_stderr(_Screen(sys.stderr)):
        try:
            try:
                return _command(arguments, options)
            finally:
                sys.stdout.flush()
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what was cut off would say so below the sentence
            print(f"interrupted: {options.interrupted}", file=sys.stderr)
            return 130


def _command(arguments: list[str] | None, options: argparse.Namespace) -> int:
    parser = _parser()
    parser.parse_args(arguments, options)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    for name, value in vars(options).items():
        if value == "":  # such as a variable of the shell that is not set
            raise ValueError(f"{name} is empty, expected something, or leave it out.")
    _absolute_variables()
    return options.run(options) or 0


def parse_parameters(words: Iterable[str]) -> dict[str, Any]:
    """Parameters from a command line, read as Python values; every other word is a text.

    >>> parse_parameters(["EPOCHS=2", "LR=1e-3", "DIGITS=builtin", "CHUNKS=[1, 5]", "PROFILE=[smoke]"])
    {'EPOCHS': 2, 'LR': 0.001, 'DIGITS': 'builtin', 'CHUNKS': [1, 5], 'PROFILE': ['smoke']}

    Raises:
        ValueError: a word without ``=``, or a name that comes twice.
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name):
            raise ValueError(f"{word!r} is no parameter, expected NAME=VALUE, as in EPOCHS=2.")
        if name in parameters:
            raise ValueError(f"{name} is given twice, expected one value for it.")
        parameters[name] = _value(text)
    return parameters


def _value(text: str) -> Any:
    text = {"true": "True", "false": "False", "null": "None"}.get(text, text)  # as YAML files spell them
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if text.startswith("[") and text.endswith("]"):  # a list of words, which a shell has taken the quotes from
            return [_value(item.strip()) for item in text[1:-1].split(",")]
        return text


def _absolute_variables() -> None:
    """Folders in the environment mean what they mean here, also to kernels that work elsewhere."""
    from vidlib.files import user_path

    for name in _PATH_VARIABLES:
        if os.environ.get(name):
            os.environ[name] = str(user_path(os.environ[name]))


def _train(options: argparse.Namespace) -> None:
    from vidlib.machine import use_threads

    use_threads()
    changes = parse_parameters(options.set)
    if options.model == "digit-network":
        return _train_digit_network(options, changes)

    from vidlib import recipes, runs
    from vidlib.training import best_row

    chosen = recipes.recipe(options.model, options.profile, **changes)
    if options.vgg_weights and not chosen.perceptual:
        raise ValueError("--vgg-weights is for a perceptual loss, and this recipe has none: add --set perceptual=0.04.")
    clips = _own_clips(options, chosen)
    _, history = runs.train(
        chosen, options.out, digits=options.digits, clips=clips, vgg_weights=options.vgg_weights, resume=options.resume,
        device=options.device,
    )  # fmt: skip
    best = best_row(history)["validation_mse"]
    print(f"best validation MSE per frame: {best:.2f}; weights in {Path(options.out) / 'model.safetensors'}")


def _own_clips(options: argparse.Namespace, chosen: Any) -> Any:
    """Clips of the videos that --clips names, to train on and to validate on; ``None`` without it."""
    from vidlib.own_videos import FPS, training_clips
    from vidlib.recipes import build

    if options.clips is None:
        if options.fps is not None:
            raise ValueError("--fps is for --clips, which is not given: add the folder of videos, or leave it out.")
        return None
    if options.digits != "auto":
        raise ValueError("--digits and --clips are both given, expected one of them.")
    model = build(chosen)
    training, validation = training_clips(
        options.clips, frames=model.past + model.horizon, fps=FPS if options.fps is None else options.fps,
        validation_clips=chosen.validation_clips, seed=chosen.seed, progress=True,
    )  # fmt: skip
    print(
        f"to train on: {training.describe()}\nto validate on: {validation.describe()}; no frame is in both", flush=True
    )
    if training.note:
        print(training.note, flush=True)
    return training, validation


def _train_digit_network(options: argparse.Namespace, changes: dict[str, Any]) -> None:
    from vidlib.digit_network import SETTINGS, train_digit_network

    for name in changes:
        if name not in SETTINGS:
            raise ValueError(f"{name!r} is no setting of the digit network, {did_you_mean(name, SETTINGS)}")
    unused = ("--resume", options.resume), ("--vgg-weights", options.vgg_weights), ("--clips", options.clips)
    for name, given in (*unused, ("--fps", options.fps)):
        if given:
            raise ValueError(f"{name} does not belong to the digit network, which is trained in one go: leave it out.")
    if options.device not in (None, "cpu"):
        raise ValueError(f"--device is {options.device!r}, expected cpu: the digit network needs no other.")
    check_choice(("smoke", "laptop"), profile=options.profile)
    options.interrupted = "the digit network is trained in one go, and nothing was saved; run the command again."
    if options.profile == "smoke":
        changes = {"epochs": 1} | changes
    card = train_digit_network(options.out, digits=options.digits, **changes)
    print(f"test accuracy: {card['accuracy']}; weights in {options.out}")


def _score(options: argparse.Namespace) -> None:
    check_counts(clips=options.clips)

    from vidlib import metrics
    from vidlib.baselines import BASELINES, BESIDE_SCORES, TOLD, baseline
    from vidlib.files import atomic_write, user_path
    from vidlib.machine import choose_device, use_threads
    from vidlib.moving_mnist import test_clips
    from vidlib.weights import load_trained

    use_threads()
    device = choose_device(options.device)
    names = (*BESIDE_SCORES, *options.models)
    # a mistake in a name must not cost a download of the digits
    trained = {name: load_trained(name) for name in names if name not in (*BASELINES, *TOLD)}
    clips = test_clips(options.digits, options.clips)
    models = {name: trained[name] if name in trained else baseline(name, clips) for name in names}
    scores = {name: metrics.evaluate(model, clips, device=device) for name, model in models.items()}
    try:
        if options.json:
            with atomic_write(user_path(options.json)) as file:
                stored = {name: score.to_dict() for name, score in scores.items()}
                file.write_text(json.dumps(stored, indent=1), encoding="utf-8")
            options.interrupted = f"the scores are in {options.json}."
    finally:  # scores that could not be saved are shown all the same
        print(f"\n{clips.describe()}{f' ({clips.digits.note})' if clips.digits.note else ''}\n")
        print(metrics.table(scores))


def _publish(options: argparse.Namespace) -> None:
    check_counts(clips=options.clips)

    from vidlib import runs
    from vidlib.machine import use_threads

    use_threads()
    shipped = runs.publish_run(
        options.run_folder, options.name, clips=options.clips, digits=options.digits, device=options.device
    )
    options.interrupted = f"{shipped} is shipped."
    print(f"{shipped}\n\n{shipped.with_suffix('.md').read_text(encoding='utf-8')}")


def _run(options: argparse.Namespace) -> None:
    from vidlib.batch import run

    if options.file and options.profile:
        raise ValueError("--file and --profile are both given, expected one of them.")
    profile = _yaml(options.file) if options.file else options.profile or "laptop"
    parameters = parse_parameters([*("=".join(pair) for pair in options.parameters), *options.set])
    if options.notebook is None:
        if options.output:
            raise ValueError(
                "--output names one executed notebook, and all are to run: name the notebook, or use --out."
            )
        run.run_notebooks(profile, options.out, parameters)
        return
    own = run.read_profile(profile, for_notebook=options.notebook)
    if options.file and (others := [name for name in run.read_profile(profile) if name not in own]):
        print(f"left out, because {options.notebook} has none of them: {', '.join(others)}", file=sys.stderr)
    executed = run.run_notebook(options.notebook, options.out, {**own, **parameters}, target=options.output)
    print(f"Executed notebook: {executed}")


def _yaml(file: str) -> str:
    if not file.endswith((".yaml", ".yml")):
        raise ValueError(f"--file is {file!r}, expected a file that ends in .yaml; smoke, laptop, full are --profile.")
    return file


def _sweep(options: argparse.Namespace) -> int:
    from vidlib.batch.sweep import sweep

    rows = sweep(
        options.notebook,
        parse_parameters(options.grid),
        options.out,
        profile=options.profile,
        workers=options.workers,
        scheduler=options.scheduler,
    )
    options.interrupted = f"{Path(options.out) / 'sweep.csv'} lists all runs."
    failed = [row for row in rows if row["status"] != "done"]
    for row in failed:
        print(f"run {row['run']} failed: {row['error']}")
    print(f"{len(rows) - len(failed)} of {len(rows)} runs done; {Path(options.out) / 'sweep.csv'} lists them all")
    return 1 if failed else 0


def _gifs(options: argparse.Namespace) -> None:
    from vidlib.batch.authoring import rebuild_gifs

    rebuild_gifs(options.digits, options.out)


def _refresh(options: argparse.Namespace) -> None:
    from vidlib import digits
    from vidlib.batch.authoring import refresh_notebooks
    from vidlib.batch.run import notebooks

    notebooks()  # the package without the course is said first
    digits.load_digits("mnist")  # the outputs that the course shows are of real MNIST, or they stay as they are
    refresh_notebooks(options.names)


def _copies(options: argparse.Namespace) -> None:
    from vidlib.batch.copies import update_copies, work_folder

    found = update_copies()
    for state, name in sorted((state, name) for name, state in found.items()):
        if state != "as it was":
            print(f"{work_folder().name}/{name}: {_ABOUT_COPIES[state].format(name[:2])}")
    if set(found.values()) == {"as it was"}:
        print(f"{work_folder().name}/ is up to date.")


_ABOUT_COPIES = {
    "new": "new.",
    "renewed": "the course's new version; you had not changed it.",
    "behind": "yours, left as it is; the course has another one, which `python -m vidlib reset {}` puts beside it.",
}


def _reset(options: argparse.Namespace) -> None:
    from vidlib.batch.copies import reset_copies

    for copy, aside in reset_copies(options.names):
        print(f"{copy.parent.name}/{copy.name} is fresh" + (f"; yours is now {aside.name}." if aside else "."))


def _lab(options: argparse.Namespace) -> int:
    from vidlib.batch.copies import open_lab

    _copies(options)
    return open_lab(options.options)


def _grade(options: argparse.Namespace) -> None:
    from vidlib.exercises.grading import grade_folder

    options.interrupted = f"{options.out} says which notebooks are graded."
    grades = grade_folder(
        options.submissions, options.out, timeout=options.timeout, memory=options.memory, jobs=options.jobs
    )
    print(f"{len(grades)} notebooks in {options.out}")


def _times(options: argparse.Namespace) -> None:
    from vidlib.batch import pace, teaching

    if options.write:
        for notebook, state in teaching.write_times(options.runs).items():
            print(f"{notebook}: running times {'recorded' if state == 'recorded' else f'as they were, {state}'}")
        print("docs/teaching.md, docs/answers.md and the notebooks' headers are up to date.")
        return
    for notebook, parts in pace.measured().items():
        print(f"{notebook}: about {pace.total(parts)} minutes\n\n{pace.section_table(parts)}\n")


def _students(options: argparse.Namespace) -> None:
    from vidlib.batch.students import student_copies

    for copy in student_copies(options.folder, options.kernel):
        print(copy)


def _offline(options: argparse.Namespace) -> None:
    from vidlib.batch.offline import offline_folder

    folder = offline_folder(options.folder, small_torch=options.small_torch, students=options.students)
    print(f"{folder} is whole. On each computer: python3 install.py")


class _HelpWithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default not in (None, False) and action.default != []
        return super()._get_help_string(action) if shown else action.help


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vidlib", description=__doc__)
    commands = parser.add_subparsers(metavar="command")

    def command(name: str, run: Any, interrupted: str, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help, formatter_class=_HelpWithDefaults)
        added.set_defaults(run=run, interrupted=interrupted)
        return added

    train = command("train", _train, "the same command with --resume goes on from the last whole epoch.",
                    "train a model without Jupyter")  # fmt: skip
    train.add_argument("model", metavar="model", type=_trainable, help="convlstm, video-transformer … or digit-network")
    train.add_argument("--profile", default="laptop", help="smoke, laptop or full")
    train.add_argument("--out", required=True, help="folder for checkpoint, history and weights")
    train.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    _add_digits(train)
    train.add_argument("--clips", help="a video or a folder of videos to train on instead of digits")
    train.add_argument("--fps", type=float, help="frames per second that --clips is read at; 10 where not given")
    train.add_argument("--vgg-weights", help="file of VGG filters for perceptual=...; else torchvision downloads them")
    _add_device(train)
    _add_set(train, "change single numbers of the recipe, for example epochs=10 hidden=[48,48]")

    score = command("score", _score, "nothing was saved; run the command again.",
                    "score models and both baselines on generated test clips")  # fmt: skip
    score.add_argument("models", nargs="*", help="names of shipped models or baselines, or .safetensors files")
    _add_test_options(score)
    score.add_argument("--json", help="also write the scores, frame by frame, into this file")

    publish = command("publish", _publish, "nothing was shipped; run the command again.",
                      "score a training's best weights and ship them with a model card")  # fmt: skip
    publish.add_argument("run_folder", help="the --out of a training")
    publish.add_argument("name", help="under which load_pretrained finds them")
    _add_test_options(publish)

    run = command("run", _run, "executed notebooks are whole, *.partial.ipynb shows the rest; run the command again.",
                  "execute one notebook, or all of them and print the result table")  # fmt: skip
    run.add_argument("notebook", nargs="?", help="a notebook; none runs all")
    run.add_argument("--profile", help="smoke, laptop or full; laptop where neither this nor --file is given")
    run.add_argument("-f", "--file", help="a YAML file of parameters instead of a profile")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], dest="parameters",
                     metavar=("NAME", "VALUE"), help="one parameter; may be given often")  # fmt: skip
    _add_set(run, "parameters, stronger than the profile's")
    run.add_argument("--out", default="runs", help="folder for the executed notebooks and what they write")
    run.add_argument("-o", "--output", help="the executed notebook, where only one runs")

    sweep = command("sweep", _sweep, "the same command goes on with the runs that are not done.",
                    "execute a notebook for every combination of parameters")  # fmt: skip
    sweep.add_argument("notebook")
    sweep.add_argument("grid", nargs="+", metavar="NAME=[VALUE,VALUE]")
    sweep.add_argument("--out", default="runs/sweep", help="folder; a second sweep there keeps the runs that are done")
    sweep.add_argument("--profile", default="laptop", help="smoke, laptop, full or a YAML file, for all runs")
    sweep.add_argument("--workers", type=int, help="runs at a time on this machine; 2 where not given")
    sweep.add_argument("--scheduler", help="address of a Dask scheduler to use instead")

    lab = command("lab", _lab, "JupyterLab did not start; run the command again.",
                  "open JupyterLab on copies of the notebooks, in work/")  # fmt: skip
    lab.add_argument("options", nargs="*", help="options of JupyterLab after --, such as -- --no-browser")

    whole = "every notebook in work/ is whole; run the command again."
    command("copies", _copies, whole, "copy new notebooks into work/, where yours are never overwritten")
    reset = command("reset", _reset, whole, "set your copy of a notebook aside and begin anew")
    reset.add_argument("names", nargs="+", help="first letters of the notebooks, such as 02")

    again = "what was finished is saved, and the rest is as it was; run the command again."
    refresh = command("refresh", _refresh, again, "run notebooks and save their outputs and GIFs in the course")
    refresh.add_argument("names", nargs="*", help="first letters of the notebooks, such as 02; none runs all")

    grade = command("grade", _grade, "nothing was graded; run the command again.",
                    "grade a folder of student notebooks, each in a process of its own")  # fmt: skip
    grade.add_argument("submissions", help="folder with notebooks, sub-folders or zip files, one per student")
    grade.add_argument("--out", required=True, help="the table, a CSV file")
    grade.add_argument("--timeout", type=float, default=60.0, help="seconds for a cell or an answer")
    grade.add_argument("--memory", type=float, default=4.0, help="GB for a notebook, where the system can limit it")
    grade.add_argument("--jobs", type=int, default=1, help="notebooks at a time")

    times = command("times", _times, "pages that were written are whole; run the command again.",
                    "show how long each section of the notebooks takes")  # fmt: skip
    times.add_argument("--write", action="store_true", help="write it into the course: docs and the notebooks' headers")
    times.add_argument("--runs", default="runs/refresh", help="folder of executed notebooks, for the running times")

    students = command("students", _students, "delete the folder and run the command again.",
                       "write notebooks without outputs, answers and solutions, to hand out")  # fmt: skip
    students.add_argument("folder", help="a new folder")
    students.add_argument("--kernel", default="python3", help="with which they open")

    offline = command("offline", _offline, "the same command goes on.",
                      "put course, wheels and MNIST into one folder, for a room without network")  # fmt: skip
    offline.add_argument("folder", help="a new folder, or one that this command began")
    offline.add_argument("--small-torch", action="store_true", help="on Linux, the torch without GPU support")
    offline.add_argument("--students", action="store_true", help="notebooks without answers and solutions")

    gifs = command("gifs", _gifs, again, "rebuild the GIFs in datavisualization from the shipped weights")
    gifs.add_argument("--digits", default="mnist", help="mnist, builtin, auto or a folder of images")
    gifs.add_argument("--out", default="runs/for-gifs", help="folder for the executed notebooks")
    return parser


def _trainable(name: str) -> str:
    """A model's name, checked only when it is given: the registry is not needed for --help."""
    from vidlib.models.registry import MODELS

    known = [*MODELS, "digit-network"]
    if name not in known:
        raise argparse.ArgumentTypeError(f"there is no model {name!r}, {did_you_mean(name, known)}")
    return name


def _add_digits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--digits", default="auto", help="mnist, builtin, auto or a folder of images")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda or mps; without it the accelerator that is here")


def _add_set(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=help)


def _add_test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=10_000, help="how many test clips")
    _add_digits(parser)
    _add_device(parser)


if __name__ == "__main__":
    sys.exit(main())
