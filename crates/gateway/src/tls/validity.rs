//! The dates between which a certificate is valid: RFC 5280 section 4.1.2.5.
//!
//! rustls does not check a server's own certificate, so `certificate` warns of its dates.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The validity of a certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// Valid for so many more days.
    Days(u64),
    Expired,
    NotYet,
    /// Its dates could not be read.
    Unknown,
}

impl Validity {
    /// Returns when a certificate in DER is valid no more, in seconds since 1970.
    pub(super) fn end_of(certificate: &[u8]) -> Option<i64> {
        dates(certificate).map(|valid| valid.end)
    }

    /// Returns the validity of a certificate in DER, now.
    pub(super) fn of(certificate: &[u8]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        Self::at(certificate, now)
    }

    fn at(certificate: &[u8], now: i64) -> Self {
        match dates(certificate) {
            None => Self::Unknown,
            Some(valid) if now < valid.start => Self::NotYet,
            Some(valid) if now >= valid.end => Self::Expired,
            Some(valid) => Self::Days((valid.end - now) as u64 / (24 * 3600)),
        }
    }
}

/// Returns the dates of a certificate in DER, in seconds since 1970.
fn dates(certificate: &[u8]) -> Option<Range<i64>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some(seconds(validity.not_before)?..seconds(validity.not_after)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Valid from 1 January 2026 to 1 January 2061, dates that DER encodes in two different ways.
    fn certificate() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2061, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_valid_between_its_dates() {
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
    fn bytes_that_are_no_certificate_have_no_dates() {
        let certificate = certificate();
        for cut in 0..150 {
            assert_eq!(Validity::of(&certificate[..cut]), Validity::Unknown, "{cut}");
        }
        assert_eq!(Validity::of(&[0x30, 0xff]), Validity::Unknown);
    }
}
