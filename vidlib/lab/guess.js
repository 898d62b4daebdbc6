// Guess first: where will the digits be at frame 20? Ten rounds, the learner's frame beside the models'.

import { FREE, mse, paste, PAST, PIXELS } from "./physics.js";

export const ROUNDS = 10, ASKED = 20; // the frame that is asked for
const LARGE = 20; // pixels off that score nothing

// A case as the models know them: two digits of the tray, anywhere, flying anywhere.
export function randomCase(each, random = Math.random) {
  const digits = [0, 1].map(() => ({
    image: `${Math.floor(random() * 10)}${"abcdefgh"[Math.floor(random() * each)]}`,
    x: Math.round(random() * FREE * 100) / 100,
    y: Math.round(random() * FREE * 100) / 100,
    angle: Math.floor(random() * 360),
  }));
  return { digits, speed: 3.6, walls: "clamp", corners: "truncate", horizon: 10, chunk: 10, view: "frames" };
}

export class Guessing {
  constructor() {
    Object.assign(this, { round: 0, points: 0, won: 0, played: 0, ghosts: null, shown: false, result: null });
  }

  // The ghosts begin where the digits were last seen.
  begin(flight) {
    this.round++;
    this.ghosts = flight.paths.map((path) => path[PAST - 1].slice(0, 2));
    this.shown = false;
    this.result = null;
  }

  // How far off each ghost is, in pixels, and the error of the frame that the learner has drawn so.
  measure(flight) {
    const last = flight.paths.map((path) => path[ASKED - 1]);
    const equal = flight.images.length === 2 && flight.images[0].every((value, i) => value === flight.images[1][i]);
    const far = (order) => order.map((to, from) =>
      Math.hypot(this.ghosts[from][0] - last[to][0], this.ghosts[from][1] - last[to][1]));
    const sum = (list) => list.reduce((total, one) => total + one, 0);
    const straight = far(flight.paths.map((_, i) => i)), crossed = equal ? far([1, 0]) : straight;
    const off = sum(crossed) < sum(straight) ? crossed : straight; // of twins nobody can say which is which
    const drawn = paste(flight.images, this.ghosts.map(([x, y]) => [[Math.round(x), Math.round(y)]]));
    const truth = flight.clip.subarray((ASKED - 1) * PIXELS, ASKED * PIXELS);
    return { off, mean: sum(off) / off.length, mse: mse(Float32Array.from(drawn, (value) => value / 255), truth) };
  }

  reveal(flight) {
    if (this.shown) return this.result;
    this.result = this.measure(flight);
    this.result.points = Math.round(10 * Math.max(0, 1 - this.result.mean / LARGE));
    this.points += this.result.points;
    this.played++;
    this.shown = true;
    return this.result;
  }
}
