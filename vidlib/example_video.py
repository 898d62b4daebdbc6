"""The two-second video that comes with the course: a pendulum and a ball under gravity, drawn here.

``python -m vidlib.example_video`` draws it anew. It moves as no clip of digits does: both speeds change all the time.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vidlib.files import atomic_write

EXAMPLE = Path(__file__).parent / "examples" / "pendulum.mp4"
RATE, FRAMES = 30, 60  # two seconds
HEIGHT, WIDTH = 240, 320
_FINER = 3  # drawn so many times larger and averaged down, for smooth edges


def example_frame(time: float) -> np.ndarray:
    """The scene ``time`` seconds after its beginning: ``(240, 320, 3)`` uint8."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH * _FINER, HEIGHT * _FINER), (18, 22, 34))
    draw = ImageDraw.Draw(picture)

    def disc(x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
        draw.ellipse([_FINER * side for side in (x - radius, y - radius, x + radius, y + radius)], fill=colour)

    angle = 0.8 * math.cos(2 * math.pi * time)  # of the pendulum, which comes back after a second
    x, y = 160 + 120 * math.sin(angle), 20 + 120 * math.cos(angle)
    draw.line([_FINER * place for place in (160, 20, x, y)], fill=(150, 150, 160), width=3 * _FINER)
    disc(x, y, 20, (240, 180, 60))
    fallen = (time / 0.8 + 0.25) % 1 - 0.5  # of the ball: it flies a parabola every 0.8 seconds
    disc(160 + 70 * math.sin(math.pi * time), 100 + 480 * fallen**2, 14, (110, 200, 250))
    draw.rectangle([0, 234 * _FINER, WIDTH * _FINER, HEIGHT * _FINER], fill=(90, 90, 90))
    return np.asarray(picture.reduce(_FINER))


def write_example(file: str | Path = EXAMPLE) -> Path:
    """Draw the video.

    Raises:
        OSError: the file could not be written.
    """
    import av

    with atomic_write(file) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE, options={"qscale": "3", "flags": "+qscale"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(example_frame(number / RATE), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Path(file)


if __name__ == "__main__":
    print(write_example())
