// How much the gateways' numbers have grown in the last minute: plain data, without a clock. `cluster.js` feeds it,
// the overview reads it.

const SPAN_MS = 60000;

export class Changes {
  constructor() {
    this.before = new Map();
    this.steps = [];
    this.since = null;
  }

  /** Takes the gateways' reports. A gateway that was started again counts from its start. */
  take(gateways, atMs) {
    if (this.steps.at(-1)?.atMs === atMs) return;
    // The clock was set back.
    if (this.steps.at(-1)?.atMs > atMs) this.steps = [];
    const grown = {};
    for (const { address, answer } of gateways) {
      if (!answer) continue;
      const before = this.before.get(address);
      if (before?.instance === answer.instance) {
        for (const [name, value] of Object.entries(answer.stats ?? {})) {
          const more = value - (before.stats[name] ?? 0);
          if (more > 0) grown[name] = (grown[name] ?? 0) + more;
        }
      }
      this.before.set(address, { instance: answer.instance, stats: answer.stats ?? {} });
    }
    this.since ??= atMs;
    this.steps.push({ atMs, grown });
    while (this.steps[0].atMs <= atMs - SPAN_MS) this.steps.shift();
  }

  /** By how much a number has grown within the last minute, as far as it was watched. */
  of(name) {
    return this.steps.reduce((sum, { grown }) => sum + (grown[name] ?? 0), 0);
  }
}

/** The sum of a number over all gateways that answer; null where none has it. */
export function total(gateways, name) {
  const values = gateways.map(({ answer }) => answer?.stats?.[name]).filter((value) => value !== undefined);
  return values.length ? values.reduce((sum, value) => sum + value, 0) : null;
}

/** The numbers `prefix_…` of all gateways by their names behind the prefix, the largest first. */
export function parts(gateways, prefix) {
  const names = new Set();
  for (const { answer } of gateways) {
    for (const name of Object.keys(answer?.stats ?? {})) if (name.startsWith(`${prefix}_`)) names.add(name);
  }
  const all = [...names].map((name) => ({ name, reason: name.slice(prefix.length + 1), total: total(gateways, name) }));
  return all.filter((part) => part.total > 0).sort((a, b) => b.total - a.total);
}
