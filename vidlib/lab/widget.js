// The lab in a notebook: an anywidget whose engine is the kernel. widget.py joins the modules to the one file it loads.

import { Lab } from "./lab.js";
import { flat } from "./predictions.js";

const PATIENCE = 60_000; // milliseconds; a kernel at work answers when it is done

export function kernelEngine(model, facts) {
  const waiting = new Map();
  let next = 0;
  model.on("msg:custom", ({ id, error, ...answer }, buffers) => {
    const one = waiting.get(id);
    if (!one) return; // of another view, or too late
    waiting.delete(id);
    clearTimeout(one.late);
    if (error) one.reject(new Error(error));
    else one.resolve(buffers.length ? new Float32Array(copied(buffers[0])) : answer.names);
  });
  const me = Math.random().toString(36).slice(2); // several views of one widget hear every answer
  const ask = (kind, facts, ...buffers) => new Promise((resolve, reject) => {
    const id = `${me} ${++next}`;
    const late = setTimeout(() => {
      waiting.delete(id);
      reject(new Error("The kernel does not answer: it is busy or gone. Run the cell again."));
    }, PATIENCE);
    waiting.set(id, { resolve, reject, late });
    model.send({ id, kind, ...facts }, undefined, buffers.map((buffer) => buffer.slice().buffer));
  });
  return {
    models: facts.models,
    observer: facts.observer,
    attention: facts.attention,
    ready: () => true,
    predict: (name, window, off) => ask("predict", { name, off }, window),
    name: (images) => ask("name", {}, images),
    ideal: ({ images, paths, rule }, first, count) =>
      ask("ideal", { paths: paths.map((path) => path.map(([x, y]) => [x, y])), rule, first, count }, flat(images)),
    attend: (name, past, time, patch, off) => ask("attend", { name, time, patch, off }, past),
  };
}

// Bytes of their own, at an address that floats can begin at.
const copied = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);

export default {
  render({ model, el }) {
    const facts = model.get("facts"), root = document.createElement("div");
    // JupyterLab looks at the element that has the focus: its keys (dd deletes a cell) are not for the lab's.
    root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
    el.append(root);
    const lab = new Lab(root, { ...facts, engine: kernelEngine(model, facts), case: model.get("case") });
    root.lab = lab;
    return () => lab.stop();
  },
};
