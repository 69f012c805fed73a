//! Durations as kubectl shows ages: two units at most, fewer the longer it is (apimachinery `duration.HumanDuration`).

use jiff::SignedDuration;

/// Such as `5s`, `2m3s`, `3h`, `4d10h`, `2y35d`. A little in the future counts as now; further, something is wrong with a clock.
#[must_use]
pub fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, small: i64, (unit, smaller): (&str, &str)| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{smaller}"),
    };
    if minutes < 10 {
        return two(minutes, seconds % 60, ("m", "s"));
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    if hours < 8 {
        return two(hours, minutes % 60, ("h", "m"));
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 24 * 8 {
        return two(days, hours % 24, ("d", "h"));
    }
    if hours < 24 * 365 * 2 {
        return format!("{days}d");
    }
    if hours < 24 * 365 * 8 {
        return two(days / 365, days % 365, ("y", "d"));
    }
    format!("{}y", days / 365)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let (minute, hour, day) = (60, 3600, 86400);
        for (seconds, shown) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (123, "2m3s"),
            (10 * minute, "10m"),
            (179 * minute, "179m"),
            (3 * hour, "3h"),
            (3 * hour + 5 * minute, "3h5m"),
            (8 * hour, "8h"),
            (47 * hour, "47h"),
            (48 * hour, "2d"),
            (50 * hour, "2d2h"),
            (8 * day, "8d"),
            (729 * day, "729d"),
            (730 * day, "2y"),
            (765 * day, "2y35d"),
            (8 * 365 * day, "8y"),
        ] {
            assert_eq!(
                human(SignedDuration::from_secs(seconds)),
                shown,
                "{seconds}"
            );
        }
    }
}
