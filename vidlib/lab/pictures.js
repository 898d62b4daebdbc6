// Frames as pictures: colours, panels, a GIF and a strip to keep.

import { CANVAS, PAST, PIXELS } from "./physics.js";

// One palette for the screen and for the GIF: 128 grays, then 128 colours of an error from −1 (too dark) over 0 to 1.
const STOPS = [[166, 219, 255], [0, 114, 178], [0, 0, 0], [213, 94, 0], [255, 208, 138]];
export const PALETTE = Array.from({ length: 256 }, (_, i) => {
  if (i < 128) return [0, 1, 2].map(() => Math.round((i * 255) / 127));
  const at = Math.min(((i - 128) / 127) * 4, 3.9999), low = Math.floor(at);
  return STOPS[low].map((value, c) => Math.round(value + (at - low) * (STOPS[low + 1][c] - value)));
});

const gray = (value) => Math.round(127 * Math.min(Math.max(value, 0), 1));
const error = (value) => 128 + Math.round(63.5 + 63.5 * Math.min(Math.max(value, -1), 1));

// A frame as numbers of the palette. Bytes are the truth or the past; floats are a prediction.
export function indices(frame, truth, view) {
  const white = frame instanceof Uint8Array ? 255 : 1;
  const chosen = new Uint8Array(PIXELS), signed = view === "error" && white === 1;
  for (let i = 0; i < PIXELS; i++)
    chosen[i] = signed ? error(Math.min(Math.max(frame[i], 0), 1) - truth[i] / 255) : gray(frame[i] / white);
  return chosen;
}

const OPAQUE = Uint32Array.from(PALETTE, (color) => new Uint32Array(Uint8Array.of(...color, 255).buffer)[0]);

export function draw(canvas, chosen) {
  const image = new ImageData(CANVAS, CANVAS), whole = new Uint32Array(image.data.buffer);
  for (let i = 0; i < PIXELS; i++) whole[i] = OPAQUE[chosen[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// What a panel shows in a frame, from 1: the past is the same for all of them. Null where nothing is known yet.
export function frameOf(panel, frame) {
  const at = frame - 1, cut = (video, from) => video.subarray(from * PIXELS, (from + 1) * PIXELS);
  if (!panel.frames) return cut(panel.clip, at);
  if (at < PAST) return cut(panel.clip, at);
  return at - PAST < panel.count ? cut(panel.frames, at - PAST) : null;
}

const truthOf = (panel, frame) => panel.clip.subarray((frame - 1) * PIXELS, frame * PIXELS);

// --- to keep ---

// Panels, {title, clip, frames, count}, side by side as an animated GIF.
export function gif(panels, frames, fps, view, scale = 3) {
  const side = CANVAS * scale, gap = 8, head = 26;
  const width = panels.length * (side + gap) + gap, height = head + side + gap + 20;
  const words = document.createElement("canvas");
  words.width = width;
  words.height = height;
  const context = words.getContext("2d", { willReadFrequently: true });
  const pictures = Array.from({ length: frames }, (_, i) => {
    context.fillStyle = "#202020";
    context.fillRect(0, 0, width, height);
    context.fillStyle = "#f0f0f0";
    context.font = "600 14px system-ui, sans-serif";
    panels.forEach((panel, p) => context.fillText(panel.title, gap + p * (side + gap), 18, side));
    context.font = "12px system-ui, sans-serif";
    context.fillText(i < PAST ? `frame ${i + 1}: the past` : `frame ${i + 1}: the future`, gap, height - 8);
    const rgba = context.getImageData(0, 0, width, height).data;
    const picture = Uint8Array.from({ length: width * height }, (_, at) => rgba[4 * at] >> 1);
    panels.forEach((panel, p) => {
      const frame = frameOf(panel, i + 1);
      const chosen = frame ? indices(frame, truthOf(panel, i + 1), view) : new Uint8Array(PIXELS);
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          picture[(head + y) * width + gap + p * (side + gap) + x] =
            chosen[Math.floor(y / scale) * CANVAS + Math.floor(x / scale)];
    });
    return picture;
  });
  return encodeGif(pictures, width, height, Math.round(100 / fps));
}

// Rows are panels, columns every second frame.
export function strip(panels, frames, view) {
  const scale = 2, side = CANVAS * scale, gap = 6, left = 150, head = 24;
  const shown = Array.from({ length: Math.ceil(frames / 2) }, (_, i) => 2 * i + 1);
  const canvas = document.createElement("canvas"), one = document.createElement("canvas");
  canvas.width = left + shown.length * (side + gap);
  canvas.height = head + panels.length * (side + gap);
  one.width = one.height = CANVAS;
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.fillStyle = "#222222";
  context.font = "14px system-ui, sans-serif";
  shown.forEach((frame, column) =>
    context.fillText(frame > PAST ? `${frame} future` : frame, left + column * (side + gap), 16));
  panels.forEach((panel, row) => {
    const top = head + row * (side + gap);
    context.fillText(panel.title, 8, top + side / 2, left - 16);
    shown.forEach((frame, column) => {
      const pixels = frameOf(panel, frame);
      if (!pixels) return;
      draw(one, indices(pixels, truthOf(panel, frame), view));
      context.drawImage(one, left + column * (side + gap), top, side, side);
    });
  });
  return canvas;
}

// GIF89a (CompuServe 1990) with one palette, endless: bytes.
export function encodeGif(pictures, width, height, hundredths) {
  const bytes = [], word = (value) => bytes.push(value & 255, value >> 8);
  const text = (letters) => bytes.push(...[...letters].map((letter) => letter.charCodeAt(0)));
  text("GIF89a");
  word(width);
  word(height);
  bytes.push(0xf7, 0, 0, ...PALETTE.flat());
  bytes.push(0x21, 0xff, 11);
  text("NETSCAPE2.0");
  bytes.push(3, 1, 0, 0, 0);
  for (const picture of pictures) {
    bytes.push(0x21, 0xf9, 4, 0);
    word(hundredths);
    bytes.push(0, 0, 0x2c, 0, 0, 0, 0);
    word(width);
    word(height);
    bytes.push(0, 8);
    const packed = lzw(picture);
    for (let i = 0; i < packed.length; i += 255) {
      const block = packed.slice(i, i + 255);
      bytes.push(block.length, ...block);
    }
    bytes.push(0);
  }
  bytes.push(0x3b);
  return Uint8Array.from(bytes);
}

// Lempel–Ziv–Welch (Welch 1984): codes of 9 to 12 bits, 256 empties the table, 257 ends.
function lzw(pixels) {
  const out = [];
  let table = new Map(), next = 258, size = 9, buffer = 0, bits = 0;
  const put = (code) => {
    buffer |= code << bits;
    for (bits += size; bits >= 8; bits -= 8, buffer >>>= 8) out.push(buffer & 255);
  };
  put(256);
  let prefix = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = (prefix << 8) | pixels[i];
    if (table.has(key)) {
      prefix = table.get(key);
      continue;
    }
    put(prefix);
    if (next === 4096) {
      put(256);
      [table, next, size] = [new Map(), 258, 9];
    } else {
      if (next === 1 << size) size++;
      table.set(key, next++);
    }
    prefix = pixels[i];
  }
  put(prefix);
  put(257);
  if (bits) out.push(buffer & 255);
  return out;
}
