// Search in Chinese text. mdBook's index splits text at spaces, and drops Chinese letters from a query. This
// looks for the words of the query in the text itself; each of them has to occur.
(() => {
  "use strict";
  if (!window.elasticlunr) return;
  const TITLE = 100;
  const BREADCRUMBS = 20;
  const BEFORE = 30;
  const BEHIND = 90;

  function count(text, word) {
    return text.toLowerCase().split(word).length - 1;
  }

  /** The text around the first word that occurs, set off by spaces, so that mdBook marks it. */
  function excerpt(body, words) {
    const low = body.toLowerCase();
    const word = words.find((one) => low.includes(one));
    if (word === undefined) return body.slice(0, BEFORE + BEHIND);
    const at = low.indexOf(word);
    const end = at + word.length;
    return `${body.slice(Math.max(0, at - BEFORE), at)} ${body.slice(at, end)} ${body.slice(end, end + BEHIND)}`;
  }

  function search(docs, query) {
    const words = query.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const results = [];
    for (const [ref, doc] of Object.entries(docs)) {
      const of = (word) =>
        TITLE * count(doc.title, word) + BREADCRUMBS * count(doc.breadcrumbs, word) + count(doc.body, word);
      const scores = words.map(of);
      if (words.length > 0 && scores.every((score) => score > 0)) {
        const score = scores.reduce((sum, one) => sum + one, 0);
        results.push({ ref, score, doc: { ...doc, body: excerpt(doc.body, words) } });
      }
    }
    return results.sort((a, b) => b.score - a.score);
  }

  window.elasticlunr.Index.prototype.search = function (query) {
    return search(this.documentStore.docs, query);
  };
})();
