//! Times and durations between their numbers in protobuf and their text in JSON.

use jiff::{SignedDuration, Timestamp};

use super::WireError;

/// A time in whole seconds, `2026-01-02T03:04:05Z`.
pub(super) fn time(seconds: i64) -> Result<String, WireError> {
    let time = Timestamp::from_second(seconds).map_err(|_| out_of_range(seconds))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A time in microseconds, always six digits, `2026-01-02T03:04:05.000006Z`.
pub(super) fn micro_time(seconds: i64, nanos: i64) -> Result<String, WireError> {
    let time = i32::try_from(nanos)
        .ok()
        .and_then(|nanos| Timestamp::new(seconds, nanos).ok())
        .ok_or_else(|| out_of_range(seconds))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

fn out_of_range(seconds: i64) -> WireError {
    WireError::new(format!("time {seconds} is out of range"))
}

/// The seconds and nanoseconds of a time.
pub(super) fn parse_time(text: &str) -> Result<(i64, i64), WireError> {
    let time: Timestamp = text
        .parse()
        .map_err(|_| WireError::new(format!("{text:?} is not a time")))?;
    // Nanoseconds count forwards, in times before 1970 too.
    let nanos = i64::from(time.subsec_nanosecond());
    match nanos < 0 {
        true => Ok((time.as_second() - 1, nanos + 1_000_000_000)),
        false => Ok((time.as_second(), nanos)),
    }
}

/// A duration as Go writes it: `1h2m3.5s`, `250ms`, `0s`.
pub(super) fn duration(nanos: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |part: u64, whole: u64| {
        let digits = whole.ilog10() as usize;
        let text = format!("{:0digits$}", part % whole);
        let text = text.trim_end_matches('0');
        match text {
            "" => String::new(),
            text => format!(".{text}"),
        }
    };
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}{}µs", nanos / 1_000, fraction(nanos, 1_000)),
        1_000_000..SECOND => format!("{}{}ms", nanos / 1_000_000, fraction(nanos, 1_000_000)),
        _ => {
            let seconds = nanos / SECOND;
            let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let tail = format!("{rest}{}s", fraction(nanos, SECOND));
            match (hours, minutes) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// The nanoseconds of such a duration.
pub(super) fn parse_duration(text: &str) -> Result<i64, WireError> {
    let wrong = || WireError::new(format!("{text:?} is not a duration"));
    let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
    i64::try_from(parsed.as_nanos()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_upstream_writes_them() {
        assert_eq!(time(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(
            micro_time(1_700_000_000, 1_000).unwrap(),
            "2023-11-14T22:13:20.000001Z"
        );
        assert!(time(i64::MAX).is_err() && micro_time(0, i64::MAX).is_err());
        for text in ["2023-11-14T22:13:20.000001Z", "1969-12-31T23:59:59.500000Z"] {
            let (seconds, nanos) = parse_time(text).unwrap();
            assert_eq!(micro_time(seconds, nanos).unwrap(), text);
        }
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (30_000_000_000, "30s"),
            (3_723_500_000_000, "1h2m3.5s"),
            (-60_000_000_000, "-1m0s"),
        ] {
            assert_eq!(duration(nanos), text);
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
        assert!(parse_duration("soon").is_err());
    }
}
