// Prometheus text, as `/metrics` serves it.

/** Reads the text; the result finds samples by name and labels. */
export function read(text) {
  const samples = new Map();
  for (const line of text.split('\n')) {
    const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    if (!samples.has(found[1])) samples.set(found[1], []);
    samples.get(found[1]).push({ labels, value: Number(found[3]) });
  }
  const all = (name, wanted = {}) =>
    (samples.get(name) ?? []).filter(({ labels }) => Object.entries(wanted).every(([label, value]) => labels[label] === value));
  return {
    /** Samples of a metric, with these labels among others. */
    all,
    /** The value of the first, or `undefined`. */
    value: (name, wanted) => all(name, wanted)[0]?.value,
  };
}
