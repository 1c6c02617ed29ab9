// Numbers, sizes and times as text, in the language of the page. A value that is not known is a dash.

import { language } from './language.js';

export const DASH = '–';

const known = (value) => typeof value === 'number' && Number.isFinite(value);

function locale() {
  return language() === 'zh' ? 'zh-CN' : 'en';
}

/** A whole number in full: 1,204. */
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString(locale()) : DASH;
}

/** A number for a narrow place: 12.3K. */
export function compact(value) {
  if (!known(value)) return DASH;
  if (value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  if (value < 10000) return count(value);
  return value.toLocaleString(locale(), { notation: 'compact', maximumFractionDigits: 1 });
}

/** A size in units of 1000, as the command line writes it: 1.5 MB. */
export function bytes(value) {
  if (!known(value)) return DASH;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Bytes a second. */
export function bytesPerSecond(value) {
  return known(value) ? `${bytes(value)}/s` : DASH;
}

const UNITS = {
  en: [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ],
  zh: [
    [86400, '天'],
    [3600, '小时'],
    [60, '分'],
    [1, '秒'],
  ],
};

/** How long, with at most two units: 3 d 4 h. Under ten seconds it has milliseconds or tenths. */
export function duration(ms) {
  if (!known(ms)) return DASH;
  const units = UNITS[language()];
  const second = units[3][1];
  if (ms < 1000) return ms > 0 && ms < 10 && !Number.isInteger(ms) ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(1)} ${second}`;
  const parts = [];
  let left = Math.floor(ms / 1000);
  for (const [length, unit] of units) {
    const n = Math.floor(left / length);
    left -= n * length;
    if (n || parts.length) parts.push(n ? `${n} ${unit}` : '');
    if (parts.length === 2) break;
  }
  return parts.filter(Boolean).join(' ');
}

/** The time of day; with the day where it is not today. */
export function clock(atMs) {
  if (!known(atMs)) return DASH;
  const at = new Date(atMs);
  const day = at.toDateString() === new Date().toDateString() ? '' : `${at.toLocaleDateString(locale())} `;
  return day + at.toLocaleTimeString('en-GB');
}

/** The time of day with milliseconds. */
export function exactClock(atMs) {
  return known(atMs) ? `${clock(atMs)}.${String(Math.floor(atMs % 1000)).padStart(3, '0')}` : DASH;
}
