"""Trained models as files: safetensors with a model card, written atomically and verified when they are read.

No pickle, so a file from a stranger holds numbers and cannot run code. The header says what is needed to build the
model again: the architecture, the arguments of its constructor, and the card that says how it was trained.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidlib.baselines import BESIDE_SCORES
from vidlib.checks import check_numbers, check_texts, did_you_mean
from vidlib.files import atomic_write, read_whole, sha256, user_path
from vidlib.history import History, read_history, write_history
from vidlib.models.registry import MODELS
from vidlib.tensors import first_mismatch, read_tensors, tensors_to_bytes

PRETRAINED = Path(__file__).parent / "pretrained"
LARGEST_FILE = 16 * 2**20  # bytes of one shipped model
LARGEST_FOLDER = 32 * 2**20  # bytes of all of them: everyone who clones the course downloads them

CARD = {  # what a card must say, and what stands for it on the page; other keys are kept as they are
    "recipe": "Recipe",
    "data": "Training data",
    "digits_sha256": "SHA-256 of the digits",
    "clips_seen": "Clips seen",
    "epochs": "Epochs",
    "test": "Scored on",
    "metrics": "Metrics",
    "hardware": "Hardware",
    "duration": "Duration",
    "date": "Date",
    "trained_with": "Trained with",
    "scored_with": "Scored with",
}
_FILLED_IN = {  # what save_model itself writes into the card
    "architecture": "Architecture",
    "parameters": "Parameters",
    "torch": "torch",
    "vidlib": "vidlib",
    "weights_sha256": "SHA-256 of the file",
}


def package_version() -> str:
    """The version of this package: of the distribution ``flowing-mnist``, since ``vidlib`` on PyPI is a stranger's."""
    try:
        return importlib.metadata.version("flowing-mnist")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def save_model(
    model: nn.Module, path: str | Path, *, card: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a model's weights, architecture, constructor arguments and card as one safetensors file.

    Args:
        model: an instance of one of :data:`MODELS` with a ``config`` of JSON values.
        path: where to; an old file survives until the new one is whole.
        card: how the model came to be, JSON values. Architecture, parameters and versions are filled in.
        dtype: ``torch.float32``, or ``torch.bfloat16`` for half the size: :func:`load_model` then gives the
            rounded weights.

    Raises:
        ValueError: another model or dtype, or a config or card that is not JSON.
        OSError: the file could not be written.
    """
    path = user_path(path)
    _write(path, _to_bytes(model, card, dtype))
    return path


def load_model(path: str | Path) -> nn.Module:
    """Rebuild a saved model: float32, on the CPU, in eval mode.

    The random state is left alone, so loading a model does not change the numbers of what comes after.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it is there and cannot be read.
        ValueError: a truncated, damaged or foreign file, or one that does not fit this version of the package.
    """
    path = user_path(path)
    header, tensors = _read(path)
    name, config = header["architecture"], header["config"]
    if name not in MODELS:
        raise ValueError(
            f"{path} holds the architecture {name!r}, expected one of {', '.join(MODELS)}: update the package."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            model = MODELS[name](**config).float()
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ValueError(f"{path} holds a config that {name} does not take ({error}): save the model again.") from error
    if wrong := first_mismatch(model.state_dict(), tensors, (torch.bfloat16,)):
        raise ValueError(f"{path} does not fit {name} with its config: {wrong}; save the model again.")
    model.load_state_dict(tensors)  # casts bfloat16 to the model's float32
    return model.eval()


def pretrained_names() -> list[str]:
    """The names of the shipped models, for :func:`load_pretrained`."""
    return sorted(_index())


def load_pretrained(name: str) -> nn.Module:
    """Load a shipped model after checking the file's SHA-256.

    Raises:
        ValueError: no model of that name, or a file that was changed.
        FileNotFoundError: the file is not there.
    """
    return load_model(_pretrained_file(name))


def load_trained(name: str) -> nn.Module:
    """A shipped model by its name, or any saved one by the path of its ``.safetensors`` file.

    Raises:
        ValueError, FileNotFoundError: as :func:`load_pretrained` and :func:`load_model`.
    """
    return load_model(name) if str(name).endswith(".safetensors") else load_pretrained(name)


def model_card(name: str | Path) -> dict[str, Any]:
    """The card of a shipped model, or of the ``.safetensors`` file at a path, with the file's SHA-256.

    Raises:
        ValueError, FileNotFoundError: as :func:`load_pretrained` and :func:`load_model`.
    """
    path = user_path(name) if str(name).endswith(".safetensors") else _pretrained_file(name)
    return {**_read(path)[0]["card"], "weights_sha256": sha256(path)}


def pretrained_history(name: str) -> History:
    """How a shipped model was trained, epoch by epoch; empty where that was not kept.

    Raises:
        ValueError: no model of that name, or a file that was changed.
    """
    _pretrained_file(name)
    path, recorded = PRETRAINED / f"{name}-history.csv", _index()[name].get("history_sha256")
    if recorded is None and not path.exists():
        return []
    if recorded not in (None, sha256(path)):
        raise ValueError(f"{path} is not the file that was shipped (its SHA-256 differs): restore it or clone again.")
    return read_history(path)


def publish(
    model: nn.Module | str | Path,
    name: str,
    card: dict[str, Any],
    *,
    history: History | None = None,
    folder: str | Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Ship a model: its weights, a card to read, and a line in the index of ``folder``.

    Score the weights as they are shipped: :func:`save_model` with the same ``dtype``, :func:`load_model`, evaluate.

    Args:
        model: a model, or the path of a saved one.
        name: lower-case words joined by hyphens, such as ``"convlstm"``.
        card: all keys of :data:`CARD`. ``test`` says what the metrics were measured on; ``metrics`` is
            ``{"model": {"mse": …}, "copy-last": {"mse": …}, "all-black": {"mse": …}}``.
        history: of its training, for :func:`pretrained_history`.
        folder: the package's own ``pretrained`` where not given.
        dtype: as in :func:`save_model`.

    Raises:
        ValueError: a bad name, a card with a missing key, or more bytes than may be shipped.
        OSError: a file could not be written.
    """
    check_name(name)
    check_card(card)
    folder = PRETRAINED if folder is None else user_path(folder)
    index = _index(folder)
    if not isinstance(model, nn.Module):
        model = load_model(model)
    path = folder / f"{name}.safetensors"
    data = _to_bytes(model, card, dtype)
    others = sum(file.stat().st_size for file in folder.glob("*.safetensors") if file != path)
    if len(data) > LARGEST_FILE or others + len(data) > LARGEST_FOLDER:
        raise ValueError(
            f"{name} has {len(data) / 2**20:.1f} MiB and the other shipped models {others / 2**20:.1f} MiB, expected "
            f"at most {LARGEST_FILE // 2**20} MiB each and {LARGEST_FOLDER // 2**20} MiB together: "
            "ship bfloat16 or a smaller model."
        )
    _write(path, data)
    _write(path.with_suffix(".md"), _card_page(name, model_card(path)).encode())
    index[name] = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    if history:
        rows = folder / f"{name}-history.csv"
        write_history(history, rows)
        index[name]["history_sha256"] = sha256(rows)
    # The index comes last: until it names the new hash, a half-published model is an error and not a surprise.
    _write(folder / "index.json", (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())
    return path


def check_name(name: str) -> None:
    """Raise a ValueError unless a model can be shipped under that name."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"name is {name!r}, expected lower-case words joined by hyphens, such as 'convlstm'.")


def check_card(card: dict[str, Any]) -> None:
    """Raise a ValueError unless the card says everything that :data:`CARD` lists, baselines included."""
    if not isinstance(card, dict):
        raise ValueError(f"card is {card!r}, expected a dictionary with {', '.join(CARD)}.")
    if missing := [key for key in CARD if card.get(key) in (None, "", {})]:
        raise ValueError(f"the card lacks {', '.join(missing)}: a shipped model says all of {', '.join(CARD)}.")
    metrics = card["metrics"]
    if not isinstance(metrics, dict) or not all(isinstance(scores, dict) for scores in metrics.values()):
        raise ValueError("the card's metrics are expected as {'model': {'mse': 60.0}, 'copy-last': {'mse': 287.0}, …}.")
    if missing := [row for row in ("model", *BESIDE_SCORES) if not metrics.get(row)]:
        raise ValueError(f"the card's metrics lack {', '.join(missing)}: a score is shown beside both baselines.")
    for row, scores in metrics.items():
        check_numbers(**{f"the card's {metric} of {row}": score for metric, score in scores.items()})


def _to_bytes(model: nn.Module, card: dict[str, Any] | None, dtype: torch.dtype) -> bytes:
    """The whole file. The same weights and card give the same bytes, so hashes can be compared."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype is {dtype}, expected torch.float32 or torch.bfloat16.")
    name = next((name for name, kind in MODELS.items() if type(model) is kind), None)
    if name is None:
        raise ValueError(
            f"model is a {type(model).__name__}, expected one of {', '.join(MODELS)}: "
            "unwrap it, or add its class to vidlib/models/registry.py."
        )
    if not isinstance(getattr(model, "config", None), dict):
        raise ValueError(
            f"{type(model).__name__} has no dict called config, expected its constructor's arguments in it."
        )
    if not isinstance(card, dict | None):
        raise ValueError(f"card is {card!r}, expected a dictionary of JSON values.")
    tensors = {key: value.to(dtype if value.is_floating_point() else None) for key, value in model.state_dict().items()}
    header = {
        "buffers": [name for name, _ in model.named_buffers()],
        "architecture": name,
        "config": model.config,
        "vidlib": package_version(),
        "card": {
            "torch": torch.__version__,
            **(card or {}),
            "architecture": name,
            "parameters": sum(p.numel() for p in model.parameters()),
            "vidlib": package_version(),
        },
    }
    return tensors_to_bytes(tensors, header)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header that :func:`_to_bytes` wrote and the tensors, or a sentence on what is wrong with the file."""
    header, tensors = read_tensors(path)
    for key, kind in (("architecture", str), ("config", dict), ("card", dict)):
        if not isinstance(header.get(key), kind):
            raise ValueError(f"{path} has no {key} in its header, expected a file of vidlib.weights.save_model.")
    return header, tensors


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def _index(folder: Path | None = None) -> dict[str, dict[str, str]]:
    path = (folder or PRETRAINED) / "index.json"
    if not path.exists():
        return {}
    text = read_whole(path)
    try:
        index = json.loads(text)
        for entry in index.values():
            if Path(entry["file"]).name != entry["file"] or not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
                raise ValueError(f"{entry} names no file of this folder")
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged, expected {{name: {{file, sha256}}}} in JSON, each a file of that folder: restore it."
        ) from error
    return index


def _pretrained_file(name: str) -> Path:
    check_texts(name=name)
    index = _index()
    if name not in index:
        hint = did_you_mean(name, sorted(index)) if index else "and this copy of the course ships none."
        raise ValueError(f"no shipped model is called {name!r}, {hint}")
    path = PRETRAINED / index[name]["file"]
    if not path.is_file():
        raise FileNotFoundError(f"the weights of {name} are not at {path}: install the package or clone again.")
    if sha256(path) != index[name]["sha256"]:
        raise ValueError(f"{path} is not the file that was shipped (its SHA-256 differs): restore it or clone again.")
    return path


def _card_page(name: str, card: dict[str, Any]) -> str:
    """The card as a markdown page."""
    titles = {**_FILLED_IN, **CARD}
    extra = {key: key.replace("_", " ").capitalize() for key in card if key not in titles}
    facts = [f"- **{title}**: {_plain(card[key])}" for key, title in {**titles, **extra}.items() if key != "metrics"]
    return "\n".join([f"# {name}", "", *facts, "", "## Metrics", "", *_metrics_table(name, card["metrics"]), ""])


def _plain(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    return str(value)


def _metrics_table(name: str, metrics: dict[str, dict[str, float]]) -> list[str]:
    columns = list(metrics["model"])
    rows = {name: metrics["model"], **{row: scores for row, scores in metrics.items() if row != "model"}}
    cells = [
        [row, *(f"{scores[column]:.4g}" if column in scores else "–" for column in columns)]
        for row, scores in rows.items()
    ]
    return [f"| {' | '.join(line)} |" for line in (["model", *columns], ["---"] * (len(columns) + 1), *cells)]
