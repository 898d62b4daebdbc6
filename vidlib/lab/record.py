"""The lab's picture for the README: a few seconds of it, recorded in a real browser.

``python -m vidlib.lab.record build/lab datavisualization/what-if-lab.gif`` after ``make site``; it needs the extra
``dev`` and a Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from vidlib.files import atomic_write, user_path

_WIDTH, _MILLISECONDS, _COLOURS = 1080, 140, 160
_LAB = "document.querySelector('[data-what-if-lab]')?.lab"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
_ACCENTS = ("#E69F00", "#56B4E9", "#D55E00", "#0072B2", "#009E73", "#6CB6FF", "#FFA45C")
_PLAIN = ".lab * { box-shadow: none !important; transition: none !important; }"  # soft shadows have too many colours


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *text: Any) -> None:
        """Say nothing of every file that was asked for."""


@contextmanager
def chromium() -> Iterator[Any]:
    """This machine's Chromium, driven by playwright and closed in the end.

    Raises:
        FileNotFoundError: there is none.
    """
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if (program := next(filter(None, map(shutil.which, names)), None)) is None:
        raise FileNotFoundError("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


def record(folder: str | Path, out: str | Path) -> Path:
    """Play a case, drag a digit, look at the error: a GIF.

    Args:
        folder: what :func:`vidlib.lab.export.write_page` has written.
        out: the GIF.

    Raises:
        FileNotFoundError: no Chromium.
    """
    handler = partial(_Quiet, directory=str(user_path(folder)))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={"width": _WIDTH, "height": 1000}, color_scheme="dark")
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.add_style_tag(content=_PLAIN)
        page.get_by_role("button", name="Load the models").click()
        page.wait_for_function(f"{_LAB}?.engine.ready()", timeout=120_000)
        pictures = list(_scenes(page))
        server.shutdown()
    some = pictures[5::10]  # one palette for all, from every scene
    sheet = Image.new("RGB", (_WIDTH, len(some) * some[0].height + 60 * len(_ACCENTS)))
    for place, accent in enumerate(_ACCENTS, 1):
        sheet.paste(accent, (0, sheet.height - 60 * place, _WIDTH, sheet.height - 60 * (place - 1)))
    for place, picture in enumerate(some):
        sheet.paste(picture, (0, place * picture.height))
    palette = sheet.quantize(_COLOURS, dither=Image.Dither.NONE)
    drawn = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_write(user_path(out)) as temporary:
        drawn[0].save(temporary, "GIF", save_all=True, append_images=drawn[1:], duration=_MILLISECONDS, loop=0)
    return user_path(out)


def _scenes(page: Any) -> Iterator[Image.Image]:
    page.locator("[data-preset=head-on]").click()
    for frame in range(1, 21):
        yield _picture(page, frame)
    box = page.locator(".lab-ring").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(15):
        page.mouse.move(x - 1.5 * step, y - 4 * step)
        yield _picture(page, 18)
    page.mouse.up()
    page.get_by_role("button", name="Error", exact=True).click()
    for frame in range(9, 21):
        yield _picture(page, frame)


def _picture(page: Any, frame: int) -> Image.Image:
    page.evaluate(f"{_LAB}.run(false), {_LAB}.go({frame})")
    page.wait_for_function(f"{_LAB}.predictions.settled && !{_LAB}.pending", timeout=60_000)
    top, end = page.locator(".lab-chips").bounding_box(), page.locator(".lab-transport").bounding_box()
    clip = {"x": 0, "y": top["y"] - 10, "width": _WIDTH, "height": end["y"] + end["height"] - top["y"] + 20}
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vidlib.lab.record", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what python -m vidlib.lab.export has written")
    parser.add_argument("out", help="the GIF")
    options = parser.parse_args(arguments)
    print(record(options.folder, options.out))


if __name__ == "__main__":
    main()
