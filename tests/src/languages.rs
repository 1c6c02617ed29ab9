//! Whether a page speaks its user's language: English or Chinese, and nothing else.

use std::io::Result;

use serde_json::Value;

use crate::browser::Page;

/// The languages of the pages, as browsers name them, and what a page calls itself then.
pub const LANGUAGES: [(&str, &str); 2] = [("en-US", "en"), ("zh-CN", "zh-CN")];

/// What a user of the page sees or is read aloud that is not in the page's language: text, placeholders, tooltips,
/// labels, generated content, the title. Empty where all is well. `allowed` words are taken out first: names,
/// what users wrote. Addresses and client ids are no language; neither is an element with `translate="no"` (what
/// goes over the wire, say), and one with a `lang` of its own speaks that.
///
/// # Errors
///
/// Where the page cannot be asked.
pub async fn foreign(page: &Page, allowed: &[&str]) -> Result<Vec<String>> {
    page.eval(&format!("({FOREIGN})({})", Value::from(allowed.to_vec()))).await
}

const FOREIGN: &str = r"(allowed) => {
    const texts = [document.title];
    const visit = (element) => {
        if (element.lang || element.translate === false) return;
        if (!element.checkVisibility() && element.tagName !== 'OPTION') return;
        for (const name of ['placeholder', 'title', 'aria-label', 'alt']) texts.push(element.getAttribute(name));
        if (element.matches('textarea, input:not([type=checkbox])')) texts.push(element.value);
        for (const pseudo of ['::before', '::after']) texts.push(getComputedStyle(element, pseudo).content.replace(/^(none|normal)$/, ''));
        for (const node of element.childNodes) {
            if (node.nodeType === Node.TEXT_NODE && element.tagName !== 'TEXTAREA') texts.push(node.data.trim());
            else if (node.nodeType === Node.ELEMENT_NODE) visit(node);
        }
    };
    visit(document.body);
    const known = [...allowed].sort((a, b) => b.length - a.length);
    const bare = (text) => known.reduce((rest, word) => rest.replaceAll(word, ' '), text)
        .replace(/wss?:\/\/[\w.:\/\[\]-]*|\b[0-9a-f]{20}\b/g, ' ');
    const wrong = document.documentElement.lang === 'en' ? /[\p{Script=Han}\u3000-\u303f\uff00-\uffef]/u : /\p{Script=Latin}{2,}/u;
    return texts.filter((text) => text && wrong.test(bare(text)));
}";
