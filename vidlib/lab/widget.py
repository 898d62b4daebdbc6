"""The what-if lab in a notebook: ``lab()`` shows it, the kernel answers for the models.

Any model of the course by its name, and any of your own: what :class:`vidlib.video.Model` says is all that is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidlib.backbones import load_digit_network
from vidlib.checks import check_flags, check_texts, kind_of, reason
from vidlib.digits import SIZE
from vidlib.flights import expected_frames, future_chances
from vidlib.iterative import evaluation_mode
from vidlib.lab.cases import FOLDER, Case, for_the_front_end, read_case
from vidlib.lab.still import PAST, still
from vidlib.models.vit import VideoTransformer
from vidlib.moving_mnist import CANVAS
from vidlib.video import check_model, device_of, predict
from vidlib.viz.show import figure_html, still_html
from vidlib.weights import load_trained

SHIPPED = ("convlstm", "video-transformer")
TITLES = {"convlstm": "ConvLSTM", "video-transformer": "Transformer"}
# One file is what a widget can load: these, in this order.
SCRIPTS = (
    "physics", "elements", "pictures", "predictions", "board", "chart", "drawing", "guess", "attention", "lab",
    "widget",
)  # fmt: skip


def lab(
    models: Mapping[str, str | nn.Module] | Sequence[str] | None = None,
    case: str | None = None,
    *,
    observer: bool = True,
) -> Any:
    """The what-if lab: set the physics, choose or draw digits, and watch every model predict.

    Args:
        models: names of shipped models or paths of saved ones, or title → model or name, such as ``{"mine": model}``.
            Left out: the shipped ConvLSTM and transformer. ``[]`` for the physics alone.
        case: a preset (``"head-on"``, see :func:`vidlib.lab.cases.presets`), or the line that the lab prints for one.
        observer: whether the ideal observer stands beside the models.

    Returns:
        A widget, or the still picture's figure where anywidget is not installed.

    Raises:
        ValueError: an unknown case or model, or a model that does not predict frames of 64×64 from up to ten.
        FileNotFoundError: a model's file is not there.
    """
    check_flags(observer=observer)
    engine = Engine(_models(models), observer)
    started = read_case(case)
    figure, alt = still(started, engine.models)
    try:
        widget = _widget_class()
    except ImportError:
        return figure
    return widget(engine, started, still_html(figure_html(figure, alt), "play with the what-if lab"))


def _models(models: Any) -> dict[str, nn.Module]:
    """Title → model, each checked to be one that the lab can ask."""
    chosen = SHIPPED if models is None else models
    if isinstance(chosen, (str, nn.Module)) or not isinstance(chosen, (Mapping, Sequence)):
        raise ValueError(
            f"models is {kind_of(models)}, expected names such as ['convlstm'], or a dictionary of title → model."
        )
    named = chosen if isinstance(chosen, Mapping) else {_title(name): name for name in chosen}
    found = {}
    for title, model in named.items():
        check_texts(**{"a title of models": title})
        found[title] = load_trained(model) if isinstance(model, str) else model
        check_model(found[title])
        if found[title].past > PAST:
            raise ValueError(f"{title} reads {found[title].past} frames, expected at most the {PAST} that are seen.")
    return found


def _title(name: Any) -> str:
    check_texts(**{"a name in models": name})
    return TITLES.get(name, name)


class Engine:
    """Answers the front end's questions: predictions, names of digits, the ideal observer, attention.

    Attributes:
        models: title → model.
        observer: whether the ideal observer is asked for.
        watched: the title of the first transformer, whose attention can be seen; ``None`` where there is none.
    """

    def __init__(self, models: Mapping[str, nn.Module], observer: bool) -> None:
        self.models, self.observer = dict(models), observer and bool(models)
        self.watched = next((title for title, model in models.items() if isinstance(model, VideoTransformer)), None)

    def facts(self) -> dict[str, Any]:
        """What the front end has to know."""
        models = [
            {"name": title, "title": title, "past": model.past, "horizon": model.horizon}
            for title, model in self.models.items()
        ]
        facts = for_the_front_end() | {"models": models, "observer": self.observer, "attention": None}
        if self.watched is not None:
            model = self.models[self.watched]
            facts["attention"] = {
                "name": self.watched, "grid": model.grid, "past": model.past, "horizon": model.horizon,
                "layers": len(model.encoder), "heads": model.encoder[0][0].attention.heads,
            }  # fmt: skip
        return facts

    def answer(self, question: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[dict[str, Any], list[bytes]]:
        """The answer to one question: a message and its buffers. What goes wrong is a sentence in the message."""
        answers: dict[str, Callable[..., Any]] = {
            "predict": self.predict, "name": self.name, "ideal": self.ideal, "attend": self.attend,
        }  # fmt: skip
        known = {"id": question.get("id")}
        try:
            asked = {key: value for key, value in question.items() if key not in ("id", "kind")}
            found = answers[question["kind"]](*buffers, **asked)
        except Exception as error:  # whatever a learner's own model raises
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "  # a sentence of the package
            return known | {"error": f"{kind}{reason(error)}."}, []
        if isinstance(found, list):
            return known | {"names": found}, []
        return known, [np.ascontiguousarray(found, np.float32).tobytes()]

    @torch.no_grad()
    def predict(self, window: Any, *, name: str, off: Sequence[str] = ()) -> np.ndarray:
        """One forward: ``(past · 64 · 64)`` float32 to ``(horizon · 64 · 64)``.

        Args:
            off: heads of the watched transformer that are silent, each ``"layer:axis:head"``.
        """
        model = self.models[name]
        past = _video(np.frombuffer(window, np.float32), model)
        with evaluation_mode(model), silenced(model, off if name == self.watched else ()):
            return predict(model, past)[0].float().cpu().numpy()

    @torch.no_grad()
    def name(self, images: Any) -> list[int]:
        """What the digit network calls ``(N · 28 · 28)`` float32 pixels."""
        pixels = torch.from_numpy(np.frombuffer(images, np.float32).reshape(-1, 1, SIZE, SIZE).copy())
        return _reader()(pixels).argmax(1).tolist()

    def ideal(self, images: Any, *, paths: Any, rule: Mapping[str, Any], first: int, count: int) -> np.ndarray:
        """The mean of all futures that agree with the seen corners: ``(count, 64, 64)``."""
        if (rule["walls"], rule["corners"], round(rule["speed"], 6)) != ("clamp", "truncate", 3.6):
            raise ValueError("the ideal observer knows the official rule alone: press Official rule")
        corners = np.array(paths)  # (n, frames, 2)
        seen = np.frombuffer(images, np.uint8).reshape(len(corners), SIZE, SIZE)
        try:
            chances = future_chances(corners[:, :PAST], first, first + count)
        except ValueError as error:
            raise ValueError("a single flight agrees with what was seen: turn a digit a little") from error
        return expected_frames(seen, chances)

    @torch.no_grad()
    def attend(self, past: Any, *, name: str, time: int, patch: Sequence[int], off: Sequence[str]) -> np.ndarray:
        """Where one patch's token looks: ``(layers, heads, places + times)``; each part sums to 1."""
        model = self.models[name]
        frames = _video(np.frombuffer(past, np.uint8)[-model.past * CANVAS**2 :].astype(np.float32) / 255, model)
        with evaluation_mode(model), silenced(model, off):
            _, layers = model(frames, return_attention=True)
        token = patch[0] * model.grid + patch[1]
        rows = [
            torch.cat([layer["space"][0, time, :, token], layer["time"][0, token, :, time]], dim=-1)  # (heads, N + T)
            for layer in layers
        ]
        return torch.stack(rows).float().cpu().numpy()


def _video(pixels: np.ndarray, model: nn.Module) -> Tensor:
    return torch.from_numpy(pixels.reshape(1, model.past, 1, CANVAS, CANVAS).copy()).to(device_of(model))


@lru_cache(maxsize=1)
def _reader() -> nn.Module:
    return load_digit_network()


@contextmanager
def silenced(model: nn.Module, heads: Sequence[str]):
    """Run a block with some attention heads of a transformer adding nothing.

    Args:
        heads: each ``"layer:axis:head"``, counted from 0, such as ``"2:space:5"``.
    """
    with ExitStack() as stack:
        for text in heads:
            layer, axis, head = text.split(":")
            (block,) = (block for block in model.encoder[int(layer)] if block.axis == axis)
            width = block.attention.dim // block.attention.heads
            part = slice(int(head) * width, (int(head) + 1) * width)

            def mute(module: nn.Module, inputs: tuple[Tensor], part: slice = part) -> tuple[Tensor]:
                mixed = inputs[0].clone()
                mixed[..., part] = 0
                return (mixed,)

            stack.callback(block.attention.out.register_forward_pre_hook(mute).remove)
        yield


@lru_cache(maxsize=1)
def script() -> str:
    """The front end as one ES module: the files joined, without the lines that import one from another."""
    parts = [(FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    joined = re.sub(r'^import [^;]*? from "\./[\w-]+\.js";\n', "", "\n".join(parts), flags=re.M)
    return re.sub(r"^export (?!default)", "", joined, flags=re.M)


@lru_cache(maxsize=1)
def _widget_class() -> type:
    import anywidget
    import traitlets

    class LabWidget(anywidget.AnyWidget):
        """The front end in a cell's output, and the engine behind it."""

        _esm = script()
        _css = (FOLDER / "lab.css").read_text(encoding="utf-8")
        facts = traitlets.Dict().tag(sync=True)
        case = traitlets.Unicode().tag(sync=True)

        def __init__(self, engine: Engine, started: Case, static: str) -> None:
            super().__init__(facts=engine.facts(), case=started.text)
            self.engine, self._static = engine, static
            self.on_msg(self._heard)

        def _heard(self, _: Any, question: Mapping[str, Any], buffers: Sequence[Any]) -> None:
            answer, data = self.engine.answer(question, buffers)
            self.send(answer, buffers=data)

        def _repr_mimebundle_(self, **kwargs: Any) -> Any:
            bundle = super()._repr_mimebundle_(**kwargs)
            data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
            return {**data, "text/html": self._static, "text/plain": "what-if lab"}, metadata

    return LabWidget
