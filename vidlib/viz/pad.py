"""A field to draw digits on with mouse, pen or finger, for whoever has a kernel; strokes as lists do the same."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from vidlib.viz.show import figure_html, still_html

_SCRIPT = """
function render({ model, el }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 280;
  canvas.style.cssText = "max-width: 100%; box-sizing: border-box; border: 1px solid gray; background: black;"
    + "touch-action: none; cursor: crosshair";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "A field to draw digits on. Without a mouse, write strokes as lists of points.");
  const pen = canvas.getContext("2d");
  pen.strokeStyle = pen.fillStyle = "white";
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = 22;
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  let stroke = null, fresh = true;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const part = (at, from, length) => Math.round(1000 * (at - from) / length) / 100;
    return [part(event.clientX, box.left, box.width), part(event.clientY, box.top, box.height)];
  };
  const line = (from, to) => {
    pen.beginPath();
    pen.moveTo(28 * from[0], 28 * from[1]);
    pen.lineTo(28 * to[0], 28 * to[1]);
    pen.stroke();
  };
  const tell = () => { said.textContent = `drawn: ${model.get("drawings").length}`; };
  const keep = (drawings) => { model.set("drawings", drawings); model.save_changes(); tell(); };
  const wipe = () => { pen.clearRect(0, 0, 280, 280); fresh = true; };
  canvas.addEventListener("pointerdown", (event) => {
    stroke = [place(event)];
    canvas.setPointerCapture(event.pointerId);
    line(stroke[0], stroke[0]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    stroke.push(place(event));
    line(...stroke.slice(-2));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => {
    if (!stroke) return;
    const drawings = structuredClone(model.get("drawings"));
    if (fresh) drawings.push([]);
    drawings.at(-1).push(stroke);
    stroke = null;
    fresh = false;
    keep(drawings);
  });
  const row = document.createElement("div");
  for (const [name, act] of [["Next digit", wipe], ["Start over", () => { wipe(); keep([]); }]]) {
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", act);
    row.append(button);
  }
  tell();
  el.append(canvas, row, said);
}
export default { render };
"""
_INSTEAD = "strokes as lists of points do the same"


class _NoPad:
    """Stands in where there is no anywidget: nothing was drawn."""

    drawings: tuple = ()

    def _repr_html_(self) -> str:
        return f"<p>Drawing with the mouse needs anywidget; {_INSTEAD}.</p>"


def _still() -> str:
    """The field with a digit on it, for readers without a kernel."""
    figure = Figure(figsize=(280 / 96, 280 / 96))
    field = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(10, 0), facecolor="black", xticks=[], yticks=[])
    for stroke in ([(5.4, 2), (2.6, 6), (7.4, 6)], [(5.8, 4.2), (5.8, 8)]):
        field.plot(
            *zip(*stroke, strict=True), color="white", linewidth=16, solid_capstyle="round", solid_joinstyle="round"
        )
    picture = figure_html(figure, "A black field on which a 4 was drawn in white.")
    return still_html(picture, f"draw with the mouse; {_INSTEAD}")


def drawing_pad() -> Any:
    """A black field to draw digits on, one after the other.

    Returns:
        an object with ``drawings``: a list of digits, each a list of strokes, each a list of points (x, y) from 0 to
        10. It is a widget; where anywidget is not installed, a sentence, and nothing is ever drawn.
    """
    try:
        import anywidget
        import traitlets
    except ImportError:
        return _NoPad()

    class DrawingPad(anywidget.AnyWidget):
        _esm = _SCRIPT
        drawings = traitlets.List().tag(sync=True)

        def __repr__(self) -> str:  # what a page shows that knows no HTML
            drawn = len(self.drawings)
            return f"a field to draw on, with {drawn} drawn digit{'s' * (drawn != 1)}"

        def _repr_mimebundle_(self, **options: Any) -> Any:
            found = super()._repr_mimebundle_(**options)
            data, *more = found if isinstance(found, tuple) else (found,)
            data = {**(data or {}), "text/html": _still()}
            return (data, *more) if more else data

    return DrawingPad()
