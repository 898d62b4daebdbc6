"""The command line, ``python -m vidlib``: every word of it is also a function of the package."""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one command; what went wrong is one sentence and exit status 1."""
    options = _parser().parse_args(arguments)
    if threads := os.environ.get("VIDLIB_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    try:
        options.run(options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command with --resume goes on from the last whole epoch.", file=sys.stderr)
        return 130
    return 0


def _train(options: argparse.Namespace) -> None:
    from vidlib import recipes

    if options.model == "digit-network":
        from vidlib.digit_network import train_digit_network

        train_digit_network(options.out)
        return
    chosen = recipes.recipe(options.model, options.profile, **dict(options.set))
    _, history = recipes.train(chosen, options.out, digits=options.digits, resume=options.resume, device=options.device)
    best = min(row["validation_mse"] for row in history)
    print(f"best validation MSE per frame: {best:.2f}; weights in {Path(options.out) / 'model.safetensors'}")


def _score(options: argparse.Namespace) -> None:
    import torch

    from vidlib import metrics, recipes
    from vidlib.baselines import AllBlack, CopyLast
    from vidlib.weights import load_model, load_pretrained

    clips = recipes.test_clips(options.digits, options.clips)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    models = {"copy-last": CopyLast(), "all-black": AllBlack()}
    for name in options.models:
        models[name] = load_model(name) if name.endswith(".safetensors") else load_pretrained(name)
    scores = {name: metrics.evaluate(model, clips, device=device) for name, model in models.items()}
    print(f"\n{clips.describe()}\n")
    print(metrics.table(scores))
    if options.json:
        from vidlib.files import atomic_write

        with atomic_write(options.json) as file:
            file.write_text(json.dumps({name: s.to_dict() for name, s in scores.items()}, indent=1))


def _assignment(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vidlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    train = commands.add_parser("train", help="train a model without Jupyter")
    train.add_argument("model", choices=["convlstm", "video-transformer", "digit-network"])
    train.add_argument("--profile", default="laptop", choices=["smoke", "laptop", "full"])
    train.add_argument("--out", required=True, help="folder for checkpoint, history and weights")
    train.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    train.add_argument("--digits", default="auto", help="mnist, builtin, auto or a folder of images")
    train.add_argument("--device", choices=["cpu"], help="stay on the CPU although there is a GPU")
    train.add_argument("--set", nargs="+", default=[], type=_assignment, metavar="NAME=VALUE",
                       help="change single numbers of the recipe, for example epochs=10 hidden=[48,48]")  # fmt: skip
    train.set_defaults(run=_train)

    score = commands.add_parser("score", help="score models and both baselines on generated test clips")
    score.add_argument("models", nargs="*", help="names of shipped models, or .safetensors files")
    score.add_argument("--clips", type=int, default=10_000)
    score.add_argument("--digits", default="auto", help="mnist, builtin, auto or a folder of images")
    score.add_argument("--device", help="cpu, cuda, mps")
    score.add_argument("--json", help="also write the scores, frame by frame, into this file")
    score.set_defaults(run=_score)
    return parser


if __name__ == "__main__":
    sys.exit(main())
