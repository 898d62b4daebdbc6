"""The command line, ``python -m vidlib``: every word of it is also a function of the package."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from vidlib.batch import parse_parameters


def main(arguments: list[str] | None = None) -> int:
    """Run one command; what went wrong is one sentence and exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        if threads := os.environ.get("VIDLIB_THREADS"):
            _use_threads(threads)
        options.run(options)
    except (ValueError, RuntimeError, OSError, AssertionError) as error:  # torch without CUDA asserts that it has it
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command with --resume goes on from the last whole epoch.", file=sys.stderr)
        return 130
    return 0


def _use_threads(threads: str) -> None:
    import torch

    if not threads.isdecimal() or int(threads) < 1:
        raise ValueError(f"VIDLIB_THREADS is {threads!r}, expected a whole number of at least 1.")
    torch.set_num_threads(int(threads))


def _train(options: argparse.Namespace) -> None:
    from vidlib import recipes

    if options.model == "digit-network":
        from vidlib.digit_network import train_digit_network

        card = train_digit_network(options.out)
        print(f"test accuracy: {card['accuracy']}; weights in {options.out}")
        return
    chosen = recipes.recipe(options.model, options.profile, **parse_parameters(options.set))
    _, history = recipes.train(
        chosen, options.out, digits=options.digits, vgg_weights=options.vgg_weights, resume=options.resume,
        device=options.device,
    )  # fmt: skip
    best = min(row["validation_mse"] for row in history)
    print(f"best validation MSE per frame: {best:.2f}; weights in {Path(options.out) / 'model.safetensors'}")


def _score(options: argparse.Namespace) -> None:
    import torch

    from vidlib import metrics, recipes
    from vidlib.baselines import AllBlack, CopyLast
    from vidlib.files import atomic_write
    from vidlib.weights import load_trained

    clips = recipes.test_clips(options.digits, options.clips)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    models = {"copy-last": CopyLast(), "all-black": AllBlack()}
    for name in options.models:
        models[name] = load_trained(name)
    scores = {name: metrics.evaluate(model, clips, device=device) for name, model in models.items()}
    print(f"\n{clips.describe()}\n")
    print(metrics.table(scores))
    if options.json:
        with atomic_write(options.json) as file:
            file.write_text(json.dumps({name: s.to_dict() for name, s in scores.items()}, indent=1))


def _publish(options: argparse.Namespace) -> None:
    from vidlib import recipes

    shipped = recipes.publish_run(
        options.run_folder, options.name, clips=options.clips, digits=options.digits, device=options.device
    )
    print(f"{shipped}\n\n{shipped.with_suffix('.md').read_text(encoding='utf-8')}")


def _run(options: argparse.Namespace) -> None:
    from vidlib import batch

    batch.run_notebooks(options.profile, options.out, parse_parameters(options.set))


def _sweep(options: argparse.Namespace) -> None:
    from vidlib import batch

    rows = batch.sweep(
        options.notebook,
        parse_parameters(options.grid),
        options.out,
        workers=options.workers,
        scheduler=options.scheduler,
    )
    failed = [row for row in rows if row["status"] != "done"]
    for row in failed:
        print(f"run {row['run']} failed: {row['error']}")
    print(f"{len(rows) - len(failed)} of {len(rows)} runs done; {Path(options.out) / 'sweep.csv'} lists them all")


def _gifs(options: argparse.Namespace) -> None:
    from vidlib import batch

    batch.rebuild_gifs(options.digits, options.out)


def _refresh(options: argparse.Namespace) -> None:
    from vidlib import batch

    batch.refresh_notebooks(options.names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vidlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    train = commands.add_parser("train", help="train a model without Jupyter")
    train.add_argument("model", choices=["convlstm", "video-transformer", "digit-network"])
    train.add_argument("--profile", default="laptop", choices=["smoke", "laptop", "full"])
    train.add_argument("--out", required=True, help="folder for checkpoint, history and weights")
    train.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    train.add_argument("--digits", default="auto", help="mnist, builtin, auto or a folder of images")
    train.add_argument("--vgg-weights", help="file of VGG filters for perceptual=...; else torchvision downloads them")
    train.add_argument("--device", choices=["cpu"], help="stay on the CPU although there is a GPU")
    train.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                       help="change single numbers of the recipe, for example epochs=10 hidden=[48,48]")  # fmt: skip
    train.set_defaults(run=_train)

    score = commands.add_parser("score", help="score models and both baselines on generated test clips")
    score.add_argument("models", nargs="*", help="names of shipped models, or .safetensors files")
    _add_test_options(score)
    score.add_argument("--json", help="also write the scores, frame by frame, into this file")
    score.set_defaults(run=_score)

    publish = commands.add_parser("publish", help="score a training's best weights and ship them with a model card")
    publish.add_argument("run_folder", help="the --out of a training")
    publish.add_argument("name", help="under which load_pretrained finds them")
    _add_test_options(publish)
    publish.set_defaults(run=_publish)

    run = commands.add_parser("run", help="execute all notebooks and print the result table")
    run.add_argument("--profile", default="laptop", help="smoke, laptop, full or a YAML file of parameters")
    run.add_argument("--out", default="runs", help="folder for the executed notebooks and what they write")
    run.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    run.set_defaults(run=_run)

    sweep = commands.add_parser("sweep", help="execute a notebook for every combination of parameters")
    sweep.add_argument("notebook")
    sweep.add_argument("grid", nargs="+", metavar="NAME=[VALUE,VALUE]")
    sweep.add_argument("--out", default="runs/sweep")
    sweep.add_argument("--workers", type=int, default=2, help="runs at a time on this machine")
    sweep.add_argument("--scheduler", help="address of a Dask scheduler to use instead")
    sweep.set_defaults(run=_sweep)

    refresh = commands.add_parser("refresh", help="run notebooks and save their outputs and GIFs in the course")
    refresh.add_argument("names", nargs="*", help="first letters of the notebooks, such as 02; none runs all")
    refresh.set_defaults(run=_refresh)

    gifs = commands.add_parser("gifs", help="rebuild the GIFs in datavisualization from the shipped weights")
    gifs.add_argument("--digits", default="mnist", help="mnist, builtin, auto or a folder of images")
    gifs.add_argument("--out", default="runs/for-gifs", help="folder for the executed notebooks")
    gifs.set_defaults(run=_gifs)
    return parser


def _add_test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=10_000, help="how many test clips")
    parser.add_argument("--digits", default="auto", help="mnist, builtin, auto or a folder of images")
    parser.add_argument("--device", help="cpu, cuda, mps")


if __name__ == "__main__":
    sys.exit(main())
