//! From when until when a certificate holds (RFC 5280, 4.1.2.5), so that one which does not is complained about at the
//! start and not by every client.
//!
//! ```text
//! Certificate = SEQ { tbs = SEQ { [0] version?, serial INT, algorithm SEQ, issuer SEQ, validity SEQ { time, time } … } … }
//! time        = UTCTime "YYMMDDHHMMSSZ" | GeneralizedTime "YYYYMMDDHHMMSSZ"
//! ```

use crate::records::Millis;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The first and the last moment; none where this is no certificate.
pub(super) fn validity(certificate: &[u8]) -> Option<(Millis, Millis)> {
    let (mut tbs, _) = expect(SEQUENCE, expect(SEQUENCE, certificate)?.0)?;
    if tbs.first() == Some(&VERSION) {
        tbs = expect(VERSION, tbs)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        tbs = expect(tag, tbs)?.1;
    }
    let (validity, _) = expect(SEQUENCE, tbs)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some((from, until))
}

/// The content of the value that `bytes` begins with, if it has this tag, and what follows it.
fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}

fn time(bytes: &[u8]) -> Option<(Millis, &[u8])> {
    let (text, rest, year_digits) = match bytes.first()? {
        &UTC_TIME => {
            let (text, rest) = expect(UTC_TIME, bytes)?;
            (text, rest, 2)
        }
        _ => {
            let (text, rest) = expect(GENERALIZED_TIME, bytes)?;
            (text, rest, 4)
        }
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != year_digits + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest_of_it) = text.split_at(year_digits);
    let mut year: u64 = year.parse().ok()?;
    if year_digits == 2 {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let part = |at: usize| rest_of_it[at..at + 2].parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        // Before 1970 is before every clock that matters here.
        return (year < 1970).then_some((0, rest));
    }
    // Years are counted from March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + part(4)?) * 60 + part(6)?) * 60_000 + part(8)? * 1000, rest))
}

#[cfg(test)]
mod tests {
    use super::super::views;
    use super::*;

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec!["as.ntm.example".into()]).expect("a name");
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        parameters.self_signed(&key).expect("signs").der().to_vec()
    }

    #[test]
    fn a_certificate_says_when_it_holds() {
        let shown = |from, until| {
            let (from, until) = validity(&certificate(from, until)).expect("a certificate");
            (views::time(from), views::time(until))
        };
        assert_eq!(shown((2024, 2, 29), (2049, 12, 31)), ("2024-02-29 00:00".into(), "2049-12-31 00:00".into()));
        assert_eq!(shown((1999, 3, 1), (2100, 1, 1)), ("1999-03-01 00:00".into(), "2100-01-01 00:00".into()));
        assert_eq!(shown((1950, 1, 1), (2051, 1, 31)).0, "1970-01-01 00:00");
    }

    #[test]
    fn what_is_cut_short_is_no_certificate_and_harms_nobody() {
        let whole = certificate((2024, 1, 1), (2025, 1, 1));
        for length in 0..whole.len() {
            let _ = validity(&whole[..length]);
        }
        for at in 0..whole.len().min(200) {
            let mut changed = whole.clone();
            changed[at] ^= 0x80;
            let _ = validity(&changed);
        }
        assert_eq!(validity(b""), None);
        assert_eq!(validity(&whole[..20]), None);
    }
}
