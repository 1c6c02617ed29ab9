//! Numbers as people read them: durations, times, sizes. `report`, `connections`, `cluster_status` and `top` print them.

/// Shows a duration by its two largest units: `3 d 4 h`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let first = units.iter().position(|(_, n)| *n > 0).unwrap_or(3);
    let two = units.iter().skip(first).take(2).map(|(unit, n)| format!("{n} {unit}"));
    two.collect::<Vec<_>>().join(" ")
}

/// Shows a size: `512 B`, `1.5 kB`, `3.2 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Shows a short time: `0.31 ms`, `12 ms`, `1.5 s`.
pub(crate) fn short_time(ms: f64) -> String {
    match ms {
        ..9.995 => format!("{ms:.2} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// Shows a time, in milliseconds since 1970, as the time of day in UTC: `14:03:07.125`.
pub(crate) fn time_of_day(ms: u64) -> String {
    let seconds = ms / 1000;
    let [hours, minutes] = [seconds / 3600 % 24, seconds / 60 % 60];
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (ms, text) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min 0 s"),
            (3_600_000, "1 h 0 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn a_size_has_a_unit() {
        for (size, text) in [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (4_200_000, "4.2 MB")] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn a_short_time_is_exact_where_that_says_something() {
        for (ms, text) in [(0.312, "0.31 ms"), (9.999, "10 ms"), (12.4, "12 ms"), (1_540.0, "1.5 s")] {
            assert_eq!(short_time(ms), text);
        }
    }

    #[test]
    fn a_time_is_that_of_the_day() {
        assert_eq!(time_of_day(1_700_000_000_007), "22:13:20.007");
        assert_eq!(time_of_day(0), "00:00:00.000");
    }
}
