// What the views read out of the gateways' reports: what is wrong, and which worker is linked to which gateway.

import { t } from './words.js';

/** What is wrong, each a sentence: those of the server, and what its answer shows beside them. None if all is well. */
export function problems(cluster) {
  const said = [...(cluster.problems ?? [])];
  const isNamed = (words) => said.some((sentence) => sentence.includes(words));
  for (const { address, answer, error } of cluster.gateways ?? []) {
    if (!answer && !isNamed(address)) said.push(error ? `${address}: ${error}` : t('noAnswerOf', { gateway: address }));
  }
  const daemons = cluster.daemons ?? [];
  const runs = new Set(daemons.filter(({ state }) => state !== 'ended').map(({ name }) => name));
  for (const name of new Set(daemons.map((daemon) => daemon.name))) {
    if (!runs.has(name) && !isNamed(name)) said.push(t('daemonEnded', { daemon: name }));
  }
  return said;
}

/** The links of all gateways to workers: one row for each pair. */
export function pairs(cluster) {
  return (cluster.gateways ?? []).flatMap(({ address, answer }) =>
    (answer?.workers ?? []).map((worker) => ({ gateway: address, worker })),
  );
}

/** How many workers there are: one that is linked to several gateways counts once. */
export function workerCount(cluster) {
  return new Set(pairs(cluster).map(({ worker }) => worker.process ?? worker.key)).size;
}
