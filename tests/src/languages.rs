//! The language of a page: all its text must be in its user's language, English or Chinese.

use std::io::Result;

use serde_json::Value;

use crate::browser::Page;

/// The languages of the pages: the browser's name, and the page's `lang` attribute.
pub const LANGUAGES: [(&str, &str); 2] = [("en-US", "en"), ("zh-CN", "zh-CN")];

/// Returns the texts of the page that are not in its language: text, placeholders, tooltips, labels, generated content,
/// the title. Empty if the page is right. `allowed` words, such as names, do not count, and neither do addresses, client
/// ids, elements with `translate="no"`, and elements with a `lang` of their own.
///
/// # Errors
///
/// The page does not answer.
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
        .replace(/wss?:\/\/[\w.:\/\[\]-]*|\b[0-9a-f]{20}\b|#[0-9a-f]{6}\b/g, ' ');
    const wrong = document.documentElement.lang === 'en' ? /[\p{Script=Han}\u3000-\u303f\uff00-\uffef]/u : /\p{Script=Latin}{2,}/u;
    return texts.filter((text) => text && wrong.test(bare(text)));
}";
