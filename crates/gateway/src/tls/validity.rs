//! From when until when a certificate is good: RFC 5280 section 4.1.2.5.
//!
//! Only that is looked for; rustls has no use for it in a server's own certificate, and
//! people have.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_cert::Certificate;
use x509_cert::der::Decode;

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
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some(seconds(validity.not_before)?..seconds(validity.not_after)?)
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
    fn what_is_no_certificate_has_no_dates() {
        let certificate = certificate();
        for cut in 0..150 {
            assert_eq!(Validity::of(&certificate[..cut]), Validity::Unknown, "{cut}");
        }
        assert_eq!(Validity::of(&[0x30, 0xff]), Validity::Unknown);
    }
}
