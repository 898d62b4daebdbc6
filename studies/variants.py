"""Changes to a model that its own settings do not offer: what was tried and left out of the package."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidlib.models.convlstm import ConvLSTM, ConvLSTMCell, State
from vidlib.models.vit import VideoTransformer


def like(model: ConvLSTM, kind: type[ConvLSTM]) -> ConvLSTM:
    """The same model, of another class."""
    other = kind(**model.config)
    other.load_state_dict(model.state_dict())
    return other


class LastFrame(ConvLSTM):
    """A skip connection: while it forecasts, the first layer reads the last frame in every step."""

    def forward(self, past: Tensor) -> Tensor:
        """As the package's."""
        _, states = self.encode(past)
        x, outputs = self.stem(past[:, -1])[:, None].repeat(1, self.horizon, 1, 1, 1), []
        for cell, state in zip(self.encoder, states, strict=True):
            x, _ = cell(x, state)
            outputs.append(x)
        maps = torch.cat(outputs, dim=2)  # (B, T, channels, h, w)
        return self.paint(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])


class ResidualCell(ConvLSTMCell):
    """Shows the sum of what it reads and what it has to say."""

    def forward(self, inputs: Tensor, state: State | None = None, steps: int | None = None) -> tuple[Tensor, State]:
        """As the package's."""
        shown, state = super().forward(inputs, state, steps)
        return shown + inputs, state


def residual_layers(model: ConvLSTM) -> ConvLSTM:
    """From the second on, each layer adds to the one below."""
    for layer, cell in enumerate(model.encoder[1:], 1):
        model.encoder[layer] = ResidualCell(cell.hidden, cell.hidden, model.config["kernel"])
        model.encoder[layer].load_state_dict(cell.state_dict())
    return model


def normalised(model: ConvLSTM) -> ConvLSTM:
    """GroupNorm (Wu & He 2018, arXiv 1803.08494) before every layer."""
    for cell in model.encoder:
        cell.from_input = nn.Sequential(nn.GroupNorm(8, cell.from_input.in_channels), cell.from_input)
    return model


class Separable(nn.Conv2d):
    """One 5×5 filter per channel, then a 1×1 convolution: a fraction of the products (Chollet 2016, 1610.02357)."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, 4 * hidden, 1)
        self.stacked = 4
        self.spread = nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, hidden, h, w)`` to ``(B, 4·hidden, h, w)``."""
        return super().forward(self.spread(x))


def separable(model: ConvLSTM) -> ConvLSTM:
    """State-to-state filters that are separable; the forget gates keep their bias."""
    for cell in model.encoder:
        filters = Separable(cell.hidden)
        filters.bias = cell.from_state.bias
        cell.from_state = filters
    return model


def two_stages(model: ConvLSTM) -> ConvLSTM:
    """From pixels to maps, and back, with one more convolution at twice the maps' side."""
    config = model.config
    width, block = config["features"] // 2, config["patch"] // 2
    model.stem = nn.Sequential(
        nn.PixelUnshuffle(block), nn.Conv2d(config["channels"] * block**2, width, 3, padding=1), nn.GELU(),
        nn.PixelUnshuffle(2), nn.Conv2d(4 * width, config["features"], 3, padding=1), nn.GELU(),
    )  # fmt: skip
    model.paint = nn.Sequential(
        nn.Conv2d(sum(config["hidden"]), 4 * width, 1), nn.GELU(), nn.PixelShuffle(2),
        nn.Conv2d(width, width, 3, padding=1), nn.GELU(),
        nn.Conv2d(width, config["channels"] * block**2, 3, padding=1), nn.PixelShuffle(block),
    )  # fmt: skip
    return model


def sigmoid(model: ConvLSTM) -> ConvLSTM:
    """Frames that cannot leave [0, 1]."""
    model.paint.append(nn.Sigmoid())
    return model


class TopDown(ConvLSTM):
    """The forecaster of Shi et al. 2015, figure 3: the deepest layer leads, each reads the one above."""

    def __init__(self, model: ConvLSTM) -> None:
        super().__init__(**model.config)
        hidden = model.config["hidden"]
        above = [*hidden[1:], 0]
        self.forecaster = nn.ModuleList(
            ConvLSTMCell(i, h, model.config["kernel"]) for i, h in zip(above, hidden, strict=True)
        )

    def forecast(self, states: list[State], horizon: int, last: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """As the package's."""
        x, outputs = None, []
        for cell, state in zip(reversed(self.forecaster), reversed(states), strict=True):
            x, _ = cell(x, state, horizon)
            outputs.insert(0, x)
        maps = torch.cat(outputs, dim=2)  # (B, T, channels, h, w)
        return self.paint(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]), outputs


def plain_ends(model: ConvLSTM) -> ConvLSTM:
    """Blocks of pixels straight into the first layer, and a single 1×1 convolution as the painter."""
    config = model.config
    depth = config["channels"] * config["patch"] ** 2
    model.stem = nn.PixelUnshuffle(config["patch"])
    model.encoder[0] = ConvLSTMCell(depth, config["hidden"][0], config["kernel"])
    model.paint = nn.Sequential(nn.Conv2d(sum(config["hidden"]), depth, 1), nn.PixelShuffle(config["patch"]))
    return model


def layer_norm(model: VideoTransformer) -> VideoTransformer:
    """LayerNorm instead of RMSNorm."""
    dim = model.config["dim"]
    for layer in model.encoder:
        for block in layer:
            block.norm_attention, block.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
    model.norm = nn.LayerNorm(dim)
    return model


def space_first(model: VideoTransformer) -> VideoTransformer:
    """In every layer, attention over space before attention over time."""
    model.encoder = nn.ModuleList(nn.ModuleList(reversed(layer)) for layer in model.encoder)
    return model


def there_and_back(model: VideoTransformer) -> VideoTransformer:
    """Time, space, space, time, and so on: every second layer the other way round (PredFormer's TSST)."""
    model.encoder = nn.ModuleList(
        nn.ModuleList(reversed(layer)) if number % 2 else layer for number, layer in enumerate(model.encoder)
    )
    return model


def no_rotation(model: VideoTransformer) -> VideoTransformer:
    """Positions only as added embeddings."""
    model.space_angles.zero_()
    model.time_angles.zero_()
    return model


def linear_decoder(model: VideoTransformer) -> VideoTransformer:
    """One linear layer from a token to its own 8×8 pixels."""
    config = model.config
    model.widen = nn.Identity()
    pixels = nn.Conv2d(config["dim"], config["channels"] * config["patch"] ** 2, 1)
    model.paint = nn.Sequential(pixels, nn.PixelShuffle(config["patch"]))
    return model


def ladder_decoder(model: VideoTransformer) -> VideoTransformer:
    """Three transposed convolutions, each of which doubles the side: 8, 16, 32, 64."""
    steps, width = [], model.config["decoder"]
    while model.grid * 2 ** (len(steps) // 2) < model.size // 2:
        steps += [nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1), nn.GELU()]
        width //= 2
    model.paint = nn.Sequential(*steps, nn.ConvTranspose2d(width, model.channels, 4, stride=2, padding=1))
    return model


class ToLastFrame(nn.Module):
    """A model that predicts what is to be added to the last frame that it saw."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.past, self.horizon, self.config = model, model.past, model.horizon, model.config

    def matrices(self) -> dict[int, list[nn.Parameter]]:
        """As the model's."""
        return self.model.matrices()

    def forward(self, past: Tensor) -> Tensor:
        """As the model's."""
        return past[:, -1:] + self.model(past)
