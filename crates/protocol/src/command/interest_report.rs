//! INTEREST_REPORT, ours: a subscriber answers [INTEREST](super::interest). The flag has the kind; ext is 64 bits, the
//! most significant byte first: the version that is applied, or the time of a RENEW.

use bytes::Bytes;

use super::{Command, CommandError};
use crate::interest::InterestReport;
use crate::{Frame, code};

const APPLIED: u8 = 1;
const RENEW: u8 = 2;

pub(super) fn decode(frame: &Frame) -> Result<Command, CommandError> {
    let missing = |what| CommandError::Missing { cmd: code::INTEREST_REPORT, what };
    let number: [u8; 8] = frame.ext.as_ref().try_into().map_err(|_| missing("its number"))?;
    let number = u64::from_be_bytes(number);
    match frame.flag {
        APPLIED => Ok(Command::InterestReport(InterestReport::Applied(number))),
        RENEW => Ok(Command::InterestReport(InterestReport::Renew(number))),
        _ => Err(missing("a known kind of report")),
    }
}

pub(super) fn encode(report: InterestReport) -> Frame {
    let (flag, number) = match report {
        InterestReport::Applied(version) => (APPLIED, version),
        InterestReport::Renew(now_ms) => (RENEW, now_ms),
    };
    let ext = Bytes::copy_from_slice(&number.to_be_bytes());
    Frame { cmd: code::INTEREST_REPORT, flag, ext, ..Frame::default() }
}
