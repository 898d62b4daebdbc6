// The ideal observer for the page: every flight that agrees with the seen pixels, and the mean of where it may lead.
//
// vidlib/flights.py says why: starts are equally likely on the canvas, angles on the circle, so all flights that leave
// the same whole-pixel corners are. Given an angle, the two axes are independent. Here a plain grid over angles and
// starts is tried, whatever the rule; the package solves for the borders of the same region and is exact up to its grid.

import { CANVAS, FREE, pixel, PIXELS, SIZE, step } from "./physics.js";

const ANGLES = 7200, STARTS = 160, ENOUGH = 12;

// How likely each corner is: for each frame of first … first + count − 1, counted from 0, a Map from x + 64·y to chance.
export function chances(path, rule, seen, first, count) {
  const places = Array.from({ length: count }, () => new Map());
  const speed = rule.speed / FREE, reach = speed + 1 / FREE;
  for (const finer of [1, 8]) {
    let total = 0, agreeing = 0;
    places.forEach((place) => place.clear());
    for (let a = 0; a < ANGLES * finer; a++) {
      const turn = (2 * Math.PI * (a + 0.5)) / (ANGLES * finer);
      const x = axis(path, 0, speed * Math.cos(turn), reach, rule, seen, first, count);
      if (!x) continue;
      const y = axis(path, 1, speed * Math.sin(turn), reach, rule, seen, first, count);
      if (!y) continue;
      agreeing++;
      total += x.weight * y.weight;
      for (let frame = 0; frame < count; frame++)
        for (const [left, shareX] of x.ends[frame])
          for (const [top, shareY] of y.ends[frame]) {
            const at = left + CANVAS * top;
            places[frame].set(at, (places[frame].get(at) || 0) + shareX * shareY);
          }
    }
    if (agreeing >= ENOUGH || finer === 8) {
      if (!total) throw new Error("a single flight agrees with what was seen: turn a digit a little.");
      places.forEach((place) => place.forEach((share, at) => place.set(at, share / total)));
      return places;
    }
  }
}

// One coordinate at one velocity: how many of the starts agree with the seen corners, and where they end.
function axis(path, which, velocity, reach, rule, seen, first, count) {
  const near = Math.max(path[0][which] / FREE - reach, 0), far = Math.min(path[0][which] / FREE + reach, 1);
  let ends = null, weight = 0;
  for (let s = 0; s < STARTS; s++) {
    let place = near + ((far - near) * (s + 0.5)) / STARTS, moving = velocity, frame = 0;
    for (; frame < seen; frame++) {
      [place, moving] = step(place, moving, rule.walls);
      if (pixel(place, rule.corners) !== path[frame][which]) break;
    }
    if (frame < seen) continue;
    ends ||= Array.from({ length: count }, () => new Map());
    weight++;
    for (; frame < first + count; frame++) {
      [place, moving] = step(place, moving, rule.walls);
      if (frame < first) continue;
      const end = ends[frame - first], at = pixel(place, rule.corners);
      end.set(at, (end.get(at) || 0) + 1);
    }
  }
  return ends && { weight, ends };
}

// The mean frames, (count · 64 · 64) floats: digits are independent of each other, overlaps by maximum.
export function expectedFrames(images, everyones, count) {
  const mean = new Float32Array(count * PIXELS);
  for (let frame = 0; frame < count; frame++) {
    const reached = new Uint8Array(PIXELS), sums = images.map(() => new Float64Array(PIXELS));
    images.forEach((image, digit) => {
      const touched = new Uint8Array(PIXELS);
      overlay(image, everyones[digit][frame], (at, value, chance) => {
        sums[digit][at] += value * chance;
        touched[at] = 1;
      });
      touched.forEach((hit, at) => (reached[at] += hit));
    });
    const shared = new Map();
    for (let at = 0; at < PIXELS; at++) {
      if (reached[at] > 1) shared.set(at, shared.size);
      mean[frame * PIXELS + at] = sums.reduce((sum, one) => sum + one[at], 0) / 255;
    }
    if (!shared.size) continue;
    // The largest of independent values is at most v where all are: its distribution is the product of theirs.
    const atMost = new Float64Array(256 * shared.size).fill(1);
    images.forEach((image, digit) => {
      const spread = new Float64Array(256 * shared.size), left = new Float64Array(shared.size).fill(1);
      overlay(image, everyones[digit][frame], (at, value, chance) => {
        const slot = shared.get(at);
        if (slot === undefined) return;
        spread[value * shared.size + slot] += chance;
        left[slot] -= chance;
      });
      left.forEach((chance, slot) => (spread[slot] += chance)); // black where the digit is elsewhere
      for (let i = 0; i < spread.length; i++) {
        if (i >= shared.size) spread[i] += spread[i - shared.size];
        atMost[i] *= spread[i];
      }
    });
    shared.forEach((slot, at) => {
      let sum = 0;
      for (let value = 0; value < 255; value++) sum += 1 - atMost[value * shared.size + slot];
      mean[frame * PIXELS + at] = sum / 255;
    });
  }
  return mean;
}

function overlay(image, places, visit) {
  places.forEach((chance, corner) => {
    for (let i = 0; i < SIZE * SIZE; i++)
      if (image[i]) visit(corner + Math.floor(i / SIZE) * CANVAS + (i % SIZE), image[i], chance);
  });
}
