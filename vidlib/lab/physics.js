// The physics of Moving MNIST, the numbers that score a prediction, and a digit from strokes: pure functions, no page.
//
// The clip rule is that of vidlib/moving_mnist.py, to the bit: a step is taken before frame 1, a digit that leaves is
// clamped to the edge (the overshoot is lost), positions are truncated to whole pixels, digits overlap by maximum.
// Both languages compute in float64, so that a test can compare the two on a thousand clips and ask for equality.

export const CANVAS = 64; // height and width of a frame in pixels
export const SIZE = 28; // height and width of a digit
export const FREE = CANVAS - SIZE; // how far a digit's corner can travel
export const PAST = 10; // frames that a model reads
export const PIXELS = CANVAS * CANVAS;
export const OFFICIAL = { speed: 3.6, walls: "clamp", corners: "truncate" };

// --- the clip rule ---

// One coordinate, one step: position in units of the free range, velocity in the same per frame.
export function step(position, velocity, walls) {
  const moved = position + velocity;
  const hit = moved <= 0 || moved >= 1;
  if (!hit) return [moved, velocity, false];
  const place = walls === "mirror" ? (moved > 0.5 ? 2 : 0) - moved : Math.min(Math.max(moved, 0), 1);
  return [place, -velocity, true];
}

// The whole pixel of a position: truncated as int() does, or rounded with halves to the even one as rint() does.
export function pixel(position, corners) {
  const at = FREE * position;
  if (corners !== "round") return Math.trunc(at);
  const near = Math.round(at);
  return near - at === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

// Where one digit is in each frame: [[x, y, bounced], ...], top-left corners in whole pixels.
export function fly([x, y], [vx, vy], frames, rule = OFFICIAL) {
  const path = [];
  let hitX, hitY;
  for (let frame = 0; frame < frames; frame++) {
    [x, vx, hitX] = step(x, vx, rule.walls);
    [y, vy, hitY] = step(y, vy, rule.walls);
    path.push([pixel(x, rule.corners), pixel(y, rule.corners), hitX || hitY]);
  }
  return path;
}

// Clips as pixels: (frames · 64 · 64) numbers 0..255; overlaps by maximum.
export function paste(images, paths) {
  const frames = paths.length ? paths[0].length : 0;
  const clip = new Uint8Array(frames * PIXELS);
  images.forEach((image, digit) =>
    paths[digit].forEach(([left, top], frame) => {
      for (let row = 0; row < SIZE; row++) {
        const from = row * SIZE, to = frame * PIXELS + (top + row) * CANVAS + left;
        for (let column = 0; column < SIZE; column++)
          if (image[from + column] > clip[to + column]) clip[to + column] = image[from + column];
      }
    }));
  return clip;
}

// Free ranges per frame along x and y. Rounded to 2⁻⁴⁰: the last bit of a cosine differs between two libraries.
export function velocity(angle, speed) {
  const turn = (angle * Math.PI) / 180, grain = 2 ** 40;
  const snap = (value) => Math.floor((speed / FREE) * value * grain + 0.5) / grain;
  return [snap(Math.cos(turn)), snap(Math.sin(turn))];
}

// A case, {digits: [{image, x, y, angle}], speed, walls, corners}, as {images, paths, clip}.
export function play(setting, frames, tray) {
  const images = setting.digits.map((digit) => pixelsOf(digit.image, tray));
  const paths = setting.digits.map((digit) =>
    fly([digit.x / FREE, digit.y / FREE], velocity(digit.angle, setting.speed), frames, setting));
  return { images, paths, clip: paste(images, paths) };
}

// --- a setting as one line of text: the link's end, and what lab(case="...") takes ---

export const DEFAULTS = { ...OFFICIAL, horizon: 10, chunk: 10, view: "frames", frame: 1 };
const RANGES = { speed: [0, 12], horizon: [10, 50], chunk: [1, 10], frame: [1, 60] };
const CHOICES = { walls: ["clamp", "mirror"], corners: ["truncate", "round"], view: ["frames", "error"] };
const LETTERS = "abcdefgh";

export function format(setting) {
  const short = (number) => String(Number(number.toFixed(2)));
  const digits = setting.digits.map((d) => `${d.image}@${short(d.x)},${short(d.y)},${short(d.angle)}`).join(";");
  const others = Object.keys(DEFAULTS).filter((key) => setting[key] !== undefined && setting[key] !== DEFAULTS[key]);
  return [`digits=${digits}`, ...others.map((key) => `${key}=${setting[key]}`)].join("&");
}

// The setting that a line of text stands for. Throws one sentence about the first thing that is wrong.
export function parse(text) {
  const setting = { ...DEFAULTS, digits: [] };
  for (const part of text.replace(/^#/, "").split("&").filter(Boolean)) {
    const [key, value = ""] = part.split(/=(.*)/s);
    if (key === "digits") setting.digits = value.split(";").map(parseDigit);
    else if (key in CHOICES) {
      if (!CHOICES[key].includes(value))
        throw new Error(`${key} is “${value}”, expected ${CHOICES[key].join(" or ")}.`);
      setting[key] = value;
    } else if (key in RANGES) {
      const number = value === "" ? NaN : Number(value), [low, high] = RANGES[key];
      const whole = key === "speed" || Number.isInteger(number);
      if (!(number >= low && number <= high && whole))
        throw new Error(`${key} is “${value}”, expected a ${key === "speed" ? "" : "whole "}number from ${low} to ${high}.`);
      setting[key] = number;
    } else throw new Error(`“${key}” is no part of a case, expected digits, ${Object.keys(DEFAULTS).join(", ")}.`);
  }
  if (setting.digits.length < 1 || setting.digits.length > 4)
    throw new Error(`the case has ${setting.digits.length} digits, expected 1 to 4.`);
  return setting;
}

function parseDigit(text) {
  const found = /^([0-9][a-h]|~[\w-]{523})@([-\d.]+),([-\d.]+),([-\d.]+)$/.exec(text);
  const [x, y, angle] = found ? found.slice(2).map(Number) : [];
  if (!(x >= 0 && x <= FREE && y >= 0 && y <= FREE && Number.isFinite(angle)))
    throw new Error(`a digit is “${text.slice(0, 40)}”, expected one such as 7a@9,18,45: image, corner from 0 to 36, degrees.`);
  return { image: found[1], x, y, angle };
}

// The 28×28 pixels of “7a”, the first 7 of the tray, or of a drawn digit, whose 16 gray levels are in its name.
export function pixelsOf(name, tray) {
  if (name[0] === "~") return unpack(name);
  const at = Number(name[0]) * tray.each + LETTERS.indexOf(name[1]);
  if (LETTERS.indexOf(name[1]) >= tray.each) throw new Error(`the tray has no digit “${name}”.`);
  return tray.pixels.subarray(at * SIZE * SIZE, (at + 1) * SIZE * SIZE);
}

export function pack(pixels) {
  let bytes = "";
  for (let i = 0; i < pixels.length; i += 2)
    bytes += String.fromCharCode((Math.round(pixels[i] / 17) << 4) | Math.round(pixels[i + 1] / 17));
  return "~" + btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

export function unpack(name) {
  const bytes = atob(name.slice(1).replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from({ length: SIZE * SIZE }, (_, i) => 17 * ((bytes.charCodeAt(i >> 1) >> (i % 2 ? 0 : 4)) & 15));
}

// The tray as it travels: {each, pixels} from how many there are of each digit, and the bytes as base64.
export function openTray({ each, base64 }) {
  const bytes = atob(base64);
  return { each, pixels: Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)) };
}

// --- how good is a frame? The metrics of vidlib/metrics.py ---

// Squared error summed over the pixels of a frame; the truth as 0..255, the prediction as it comes, not clipped.
export function mse(prediction, truth) {
  let sum = 0;
  for (let i = 0; i < truth.length; i++) sum += (prediction[i] - truth[i] / 255) ** 2;
  return sum;
}

// Mean gradient magnitude of a frame with values up to `white`, clipped: differences to the right and lower neighbour.
export function gradient(frame, white = 1) {
  const at = (i) => Math.min(Math.max(frame[i] / white, 0), 1);
  let sum = 0;
  for (let row = 0; row < CANVAS - 1; row++)
    for (let column = 0; column < CANVAS - 1; column++) {
      const i = row * CANVAS + column, here = at(i);
      sum += Math.hypot(at(i + 1) - here, at(i + CANVAS) - here);
    }
  return sum / (CANVAS - 1) ** 2;
}

// The windows that the digit network looks at: (frames · digits · 28 · 28) floats, and whether each holds any ink.
export function windows(frames, paths, first, count) {
  const size = SIZE * SIZE, cut = new Float32Array(count * paths.length * size), inked = [];
  for (let frame = 0, to = 0; frame < count; frame++)
    for (const path of paths) {
      const [left, top] = path[first + frame];
      let brightest = 0;
      for (let i = 0; i < size; i++) {
        const from = frame * PIXELS + (top + Math.floor(i / SIZE)) * CANVAS + left + (i % SIZE);
        cut[to + i] = Math.min(Math.max(frames[from], 0), 1);
        brightest = Math.max(brightest, cut[to + i]);
      }
      inked.push(brightest > 0.1);
      to += size;
    }
  return { cut, inked };
}

// --- a drawn digit, cleaned to MNIST's look ---

// Strokes, lists of [x, y] in any unit, as 28×28 gray levels: scaled into MNIST's box of 20 pixels, drawn with a soft
// pen, and moved until the centre of mass is the centre of the image (LeCun et al. 1998). Null where there is no ink.
export function digitFromStrokes(strokes, pen = 2.6) {
  const points = strokes.flat();
  if (!points.length) return null;
  const range = (axis) => [Math.min(...points.map((p) => p[axis])), Math.max(...points.map((p) => p[axis]))];
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  const scale = (20 - pen) / Math.max(right - left, bottom - top, 1e-6);
  const fitted = points.length > 1 && right - left + bottom - top > 1e-6 ? scale : 1;
  const place = (shift) => strokes.map((stroke) =>
    stroke.map(([x, y]) => [(x - (left + right) / 2) * fitted + 14 + shift[0], (y - (top + bottom) / 2) * fitted + 14 + shift[1]]));
  let image = inkOf(place([0, 0]), pen), mass = 0, massX = 0, massY = 0;
  image.forEach((value, i) => {
    mass += value;
    massX += value * ((i % SIZE) + 0.5);
    massY += value * (Math.floor(i / SIZE) + 0.5);
  });
  const stay = (value) => Math.min(Math.max(value, -4), 4); // the box leaves a margin of four pixels
  image = inkOf(place([stay(14 - massX / mass), stay(14 - massY / mass)]), pen);
  return image.map((value) => 17 * Math.round(value / 17));
}

function inkOf(strokes, pen) {
  const image = new Uint8Array(SIZE * SIZE);
  for (let i = 0; i < image.length; i++) {
    const x = (i % SIZE) + 0.5, y = Math.floor(i / SIZE) + 0.5;
    let near = Infinity;
    for (const stroke of strokes)
      stroke.forEach((point, at) => {
        near = Math.min(near, distance(x, y, point, stroke[Math.max(at - 1, 0)]));
      });
    image[i] = Math.round(255 * Math.min(Math.max(pen / 2 + 0.6 - near, 0) / 1.2, 1)); // an edge 1.2 pixels wide
  }
  return image;
}

function distance(x, y, [ax, ay], [bx, by]) {
  const dx = bx - ax, dy = by - ay, long = dx * dx + dy * dy;
  const along = long ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / long, 0), 1) : 0;
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}
