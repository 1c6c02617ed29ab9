//! Reads `Retry-After`, by which a backend says when it wants to be asked again: seconds, or a date.
//!
//! Plain data: `request` reads the header with it, `tries` and `backends` wait so long.

use std::time::{Duration, SystemTime};

/// The longest time that is honoured.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// Returns how long the backend wants to be left alone from `now` on, at most [`LONGEST`]; zero where the date has passed, or
/// the text is neither seconds nor a date.
pub(crate) fn read(text: &str, now: SystemTime) -> Duration {
    let text = text.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time, too.
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok();
        date.and_then(|date| date.duration_since(now).ok()).unwrap_or_default()
    };
    pause.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight seconds before the date in the specification of HTTP.
    fn read(text: &str) -> u64 {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 8);
        super::read(text, now).as_secs()
    }

    #[test]
    fn seconds_are_honoured_up_to_thirty() {
        assert_eq!(["0", " 7 ", "30", "31", "99999999999999999999"].map(read), [0, 7, 30, 30, 30]);
    }

    #[test]
    fn a_date_is_honoured_in_each_of_its_forms_up_to_thirty_seconds_from_now() {
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read(date), 8, "{date}");
        }
        assert_eq!(read("Sun, 06 Nov 1994 09:49:37 GMT"), 30);
        assert_eq!(read("Sun, 06 Nov 1994 07:49:37 GMT"), 0, "it has passed");
    }

    #[test]
    fn anything_else_is_no_time() {
        assert_eq!(["", "soon", "-7", "1.5", "7 s"].map(read), [0; 5]);
    }
}
