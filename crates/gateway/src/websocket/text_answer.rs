//! An HTTP answer with one line of text. `rejection` and `health_check` write it.

/// Returns an HTTP answer with a line of text. The answer to HEAD has its length and not the text
/// itself: RFC 9110 section 9.3.2.
pub(super) fn text_answer(status: &str, headers: &str, text: &str, is_head: bool) -> String {
    let length = text.len() + 1;
    let (text, end) = if is_head { ("", "") } else { (text, "\n") };
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{text}{end}"
    )
}
