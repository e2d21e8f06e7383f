//! Moments as FHIR writes them (datatypes.html#date): a span from the first to the last millisecond that is meant.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// `YYYY-MM-DDThh:mm:ss.sssZ` of milliseconds since 1970 UTC; years outside 1 to 9999 are shown as their bounds.
#[must_use]
pub fn instant(ms: i64) -> String {
    let ms = ms.clamp(-62_135_596_800_000, 253_402_300_799_999);
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// The span that a date, dateTime or instant means: milliseconds since 1970 UTC, the end exclusive. Without a zone,
/// UTC is taken. `None` when it is none.
#[must_use]
pub fn parse_date(text: &str) -> Option<(i64, i64)> {
    const SECOND: i64 = 1_000;
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 4 {
        return None;
    }
    let year: i32 = digits(text.get(..4)?)? as i32;
    if year == 0 {
        return None;
    }
    let day = |year: i32, month: u32, day: u32| {
        Date::from_calendar_date(year, Month::try_from(u8::try_from(month).ok()?).ok()?, u8::try_from(day).ok()?).ok()
    };
    let start = |date: Date| PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc().unix_timestamp() * SECOND;
    match bytes.len() {
        4 => Some((start(day(year, 1, 1)?), day(year + 1, 1, 1).map_or(i64::MAX, start))),
        7 if bytes[4] == b'-' => {
            let month = digits(&text[5..7])?;
            let next = if month == 12 { day(year + 1, 1, 1) } else { day(year, month + 1, 1) };
            Some((start(day(year, month, 1)?), next.map_or(i64::MAX, start)))
        }
        10 if bytes[4] == b'-' && bytes[7] == b'-' => {
            let low = start(day(year, digits(&text[5..7])?, digits(&text[8..10])?)?);
            Some((low, low + 86_400 * SECOND))
        }
        _ if bytes.len() >= 16 && bytes[10] == b'T' => {
            let date = day(year, digits(text.get(5..7)?)?, digits(text.get(8..10)?)?)?;
            moment(date, &text[11..])
        }
        _ => None,
    }
}

fn moment(date: Date, text: &str) -> Option<(i64, i64)> {
    let zone_at = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let offset = match zone {
        "" | "Z" => UtcOffset::UTC,
        zone if zone.len() == 6 && zone.as_bytes()[3] == b':' => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = (digits(&zone[1..3])? as i8, digits(&zone[4..6])? as i8);
            UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()?
        }
        _ => return None,
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut parts = whole.split(':').map(digits);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        Some(second) => Some(second?),
        None => None,
    };
    if parts.next().is_some() || (fraction.is_some() && second.is_none()) {
        return None;
    }
    // A leap second is the last one that clocks have.
    let time =
        Time::from_hms(u8::try_from(hour).ok()?, u8::try_from(minute).ok()?, second.unwrap_or(0).min(59) as u8).ok()?;
    if second.unwrap_or(0) > 60 {
        return None;
    }
    let low = PrimitiveDateTime::new(date, time).assume_offset(offset).unix_timestamp() * 1_000;
    match (fraction, second) {
        (Some(fraction), _) => {
            digits(fraction.get(..fraction.len().min(9))?)?;
            let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
            Some((low + ms, low + ms + 1))
        }
        (None, Some(_)) => Some((low, low + 1_000)),
        (None, None) => Some((low, low + 60_000)),
    }
}

fn digits(text: &str) -> Option<u32> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_means_a_span() {
        assert_eq!(parse_date("1970"), Some((0, 365 * 86_400_000)));
        assert_eq!(parse_date("1970-01-01"), Some((0, 86_400_000)));
        assert_eq!(parse_date("1970-01-01T01:00:00+01:00"), Some((0, 1_000)));
        assert_eq!(parse_date("1970-01-01T00:00:00.5Z"), Some((500, 501)));
        assert_eq!(instant(parse_date("2026-11-23T02:03:04.567Z").unwrap().0), "2026-11-23T02:03:04.567Z");
        for bad in ["", "26", "2026-13", "2026-02-30", "2026-01-01T25:00:00Z", "2026-1-1", "0000", "2026-01-01T10"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }
}
