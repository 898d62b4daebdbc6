// The live chart: one metric by frame, a line for each model, and the same as numbers.

import { PAST } from "./physics.js";
import { svg } from "./elements.js";

export const METRICS = {
  mse: { title: "MSE", unit: "squared error, summed over a frame; lower is better", digits: 1 },
  sharpness: { title: "Sharpness", unit: "gradient over the truth's; 1 is as sharp", digits: 2 },
  identity: { title: "Identity", unit: "share of digits still recognised; higher is better", digits: 2 },
};
const [HIGH, LEFT, RIGHT, TOP, BOTTOM] = [240, 36, 12, 12, 26];

// As wide as its box in pixels, so that words and lines are everywhere as large as they are meant.
export function chart(lines, metric, horizon, frame, wide, pick) {
  const { title, unit } = METRICS[metric];
  const values = lines.flatMap((line) => line.values);
  const top = metric === "mse" ? nice(Math.max(20, ...values)) : Math.max(1, Math.ceil(5 * Math.max(0, ...values)) / 5);
  const x = (at) => LEFT + ((at - PAST - 1) / (horizon - 1)) * (wide - LEFT - RIGHT);
  const y = (value) => TOP + (1 - Math.min(value, top) / top) * (HIGH - TOP - BOTTOM);
  const node = svg("svg", {
    viewBox: `0 0 ${wide} ${HIGH}`, class: "lab-chart", role: "img",
    "aria-label": `${title} by frame, ${unit}. ${lines.map((line) => `${line.title}: mean ${mean(line.values, metric)}`).join("; ")}.`,
  });
  for (let tick = 0; tick <= 4; tick++) {
    const value = (top * tick) / 4;
    node.append(svg("line", { x1: LEFT, x2: wide - RIGHT, y1: y(value), y2: y(value), class: "lab-rule" }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, String(Number(value.toFixed(2)))));
  }
  const every = [1, 2, 5, 10].find((step) => (horizon / step) * 30 < wide);
  for (let at = PAST + every; at <= PAST + horizon; at += every)
    node.append(svg("text", { x: x(at), y: HIGH - 8, "text-anchor": "middle" }, String(at)));
  if (frame > PAST)
    node.append(svg("line", { x1: x(frame), x2: x(frame), y1: TOP, y2: HIGH - BOTTOM, class: "lab-now" }));
  for (const line of lines) {
    const points = line.values.map((value, i) => `${x(PAST + 1 + i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    node.append(svg("polyline", { points, class: "lab-curve", stroke: line.color, ...(line.dashed ? { "stroke-dasharray": "6 5" } : {}) }));
    const at = frame - PAST - 1;
    if (at >= 0 && at < line.values.length)
      node.append(svg("circle", { cx: x(frame), cy: y(line.values[at]), r: 5, fill: line.color, class: "lab-dot" }));
  }
  node.addEventListener("pointerdown", (event) => {
    const box = node.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * wide;
    pick(Math.round(PAST + 1 + ((at - LEFT) / (wide - LEFT - RIGHT)) * (horizon - 1)));
  });
  return node;
}

const nice = (value) => [20, 40, 60, 80, 100, 120, 160, 200, 240, 320, 400, 600, 800].find((one) => one >= value) || value;

export function mean(values, metric) {
  if (!values.length) return "–";
  return (values.reduce((sum, one) => sum + one, 0) / values.length).toFixed(METRICS[metric].digits);
}
