//! From when until when a certificate is good: RFC 5280 section 4.1.2.5.
//!
//! Only that is looked for; rustls has no use for it in a server's own certificate, and
//! people have.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tags of DER, ITU-T X.690.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// What to say of a certificate's dates now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// Good for so many more days.
    Days(u64),
    Expired,
    NotYet,
    /// They could not be read.
    Unknown,
}

impl Validity {
    /// Of a certificate in DER, at this time.
    pub(super) fn of(certificate: &[u8]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        Self::at(certificate, now)
    }

    fn at(certificate: &[u8], now: i64) -> Self {
        match dates(certificate) {
            None => Self::Unknown,
            Some(good) if now < good.start => Self::NotYet,
            Some(good) if now >= good.end => Self::Expired,
            Some(good) => Self::Days((good.end - now) as u64 / (24 * 3600)),
        }
    }
}

/// In seconds since 1970.
fn dates(certificate: &[u8]) -> Option<Range<i64>> {
    let (certificate, _) = take(SEQUENCE, certificate)?;
    let (fields, _) = take(SEQUENCE, certificate)?;
    let fields = take(VERSION, fields).map_or(fields, |(_, rest)| rest);
    let (_serial, fields) = take(INTEGER, fields)?;
    let (_algorithm, fields) = take(SEQUENCE, fields)?;
    let (_issuer, fields) = take(SEQUENCE, fields)?;
    let (validity, _) = take(SEQUENCE, fields)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some(from..until)
}

/// The contents of the element at the front, if it is one of `tag`, and what is behind it.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match short {
        0..0x80 => (usize::from(short), rest),
        // So many bytes of length follow.
        _ => {
            let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (
                long.iter()
                    .try_fold(0_usize, |len, byte| len.checked_mul(256)?.checked_add((*byte).into()))?,
                rest,
            )
        }
    };
    rest.split_at_checked(len)
}

fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let generalized = take(GENERALIZED_TIME, der);
    let is_long = generalized.is_some();
    let (text, rest) = generalized.or_else(|| take(UTC_TIME, der))?;
    let mut numbers =
        text.strip_suffix(b"Z")?.chunks(2).map(|two| std::str::from_utf8(two).ok()?.parse::<i64>().ok());
    let mut next = || numbers.next().flatten();
    let year = match (is_long, next()?) {
        (true, century) => century * 100 + next()?,
        (false, year @ 50..) => 1900 + year,
        (false, year) => 2000 + year,
    };
    let (month, day) = (next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    Some(((days_until(year, month, day) * 24 + hour) * 3600 + minute * 60 + second, rest))
}

/// Days from 1970-01-01 to a date, with years that begin in March.
fn days_until(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 January 2026 and 1 January 2061, which are told in two ways.
    fn certificate() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2061, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_good_between_its_dates() {
        let certificate = certificate();
        let (from, until) = (1_767_225_600, 2_871_763_200);
        assert_eq!(dates(&certificate), Some(from..until));
        for (now, validity) in [
            (from - 1, Validity::NotYet),
            (from, Validity::Days((until - from) as u64 / 86_400)),
            (until - 1, Validity::Days(0)),
            (until, Validity::Expired),
        ] {
            assert_eq!(Validity::at(&certificate, now), validity);
        }
    }

    #[test]
    fn days_are_counted_over_leap_years_and_centuries() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1972, 3, 1), 790),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_until(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        let certificate = certificate();
        for cut in 0..150 {
            assert_eq!(Validity::of(&certificate[..cut]), Validity::Unknown, "{cut}");
        }
        assert_eq!(Validity::of(&[0x30, 0xff]), Validity::Unknown);
    }
}
