//! Pure: until when a certificate is good (RFC 5280, section 4.1). Of all that it says only this is read here, of files that
//! whoever runs the node has chosen; whether a certificate is believed is for the library to judge.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The second since 1970 at which it ends; `None` if it is no certificate, or ended before 1970.
#[must_use]
pub fn expires_s(der: &[u8]) -> Option<u64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    let rest = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_, rest) = element(rest, INTEGER)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, not_after) = time(validity)?;
    let (not_after, _) = time(not_after)?;
    u64::try_from(not_after).ok()
}

/// The content of the first element, if it has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(length.into());
    }
    let (digits, rest) = rest.split_at_checked((length & 0x7f).into())?;
    let length = digits.iter().try_fold(0_usize, |length, digit| length.checked_mul(256)?.checked_add((*digit).into()))?;
    rest.split_at_checked(length)
}

/// The first element as seconds since 1970, and what follows it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, year_digits) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, 2),
        None => element(bytes, GENERALIZED_TIME).map(|(text, rest)| (text, rest, 4))?,
    };
    let (year, others) = std::str::from_utf8(text).ok()?.strip_suffix('Z')?.split_at_checked(year_digits)?;
    let year: i64 = year.parse().ok()?;
    let year = match (year_digits, year) {
        (2, 0..50) => 2000 + year,
        (2, _) => 1900 + year,
        _ => year,
    };
    let number = |at: usize| others.get(2 * at..2 * at + 2)?.parse::<i64>().ok();
    let (month, day, hour, minute, second) = (number(0)?, number(1)?, number(2)?, number(3)?, number(4)?);
    ((1..=12).contains(&month) && others.len() == 10).then(|| (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second, rest))
}

/// Days since 1970 of a date of the Gregorian calendar, counted in years that begin in March, so that a leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn a_certificate_says_when_it_ends_before_2050_and_after() {
        for (date, expected) in [
            ((1970, 1, 2), 86_400),
            ((2024, 2, 29), 1_709_164_800),
            ((2024, 3, 1), 1_709_251_200),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
        ] {
            let mut params = CertificateParams::new(["c1.example".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1970, 1, 1);
            params.not_after = date_time_ymd(date.0, date.1, date.2);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(expires_s(certificate.der()), Some(expected), "{date:?}");
            for length in 0..certificate.der().len() {
                assert_eq!(expires_s(&certificate.der()[..length]), None, "the first {length} bytes");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        let of = |tag: u8, text: &str| {
            let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            time(&bytes).map(|(seconds, _)| seconds)
        };
        assert_eq!(of(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(of(UTC_TIME, "500101000000Z"), Some(-631_152_000));
        for bad in ["", "Z", "4912312359Z", "491231235959", "4912312359590Z", "491331235959Z", "49123123595éZ"] {
            assert_eq!(of(UTC_TIME, bad), None, "{bad}");
        }
        assert_eq!(of(INTEGER, "491231235959Z"), None);
    }
}
