//! Amounts as people read them.

/// `1234567` as `1,234,567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or another number whose first three digits matter: `87`, `4.31 k`, `12.9 M`.
pub(super) fn rounded(number: f64) -> String {
    let (scaled, unit) = match number {
        number if number >= 999.5e6 => (number / 1e9, " G"),
        number if number >= 999.5e3 => (number / 1e6, " M"),
        number if number >= 999.5 => (number / 1e3, " k"),
        number => return format!("{number:.0}"),
    };
    let digits = if scaled >= 99.95 {
        0
    } else if scaled >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{unit}")
}

/// A span of time: `850 ms`, `12.3 s`, `4 min 10 s`, `26 h 40 min`.
pub(super) fn span_ms(ms: u64) -> String {
    let unit =
        |value: u64, unit: &str| if value > 0 { format!(" {value} {unit}") } else { String::new() };
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => {
            let tenths = ms / 100;
            let fraction = if !tenths.is_multiple_of(10) {
                format!(".{}", tenths % 10)
            } else {
                String::new()
            };
            format!("{}{fraction} s", tenths / 10)
        }
        60_000..3_600_000 => format!("{} min{}", ms / 60_000, unit(ms / 1000 % 60, "s")),
        3_600_000..172_800_000 => format!("{} h{}", ms / 3_600_000, unit(ms / 60_000 % 60, "min")),
        _ => format!("{} days{}", ms / 86_400_000, unit(ms / 3_600_000 % 24, "h")),
    }
}

/// A short span of time: `800 ns`, `12 µs`, `4.2 ms`, then as [`span_ms`].
pub(super) fn span_ns(ns: u64) -> String {
    match ns {
        0..1000 => format!("{ns} ns"),
        1000..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..10_000_000 => {
            format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10)
        }
        _ => span_ms(ns / 1_000_000),
    }
}

/// A point in event time, in UTC.
pub(super) fn time(ms: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(ms) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        None => format!("{ms} ms"),
    }
}

/// The second of a point in event time, in UTC.
pub(super) fn second(ms: i64) -> String {
    time(ms).split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_readable() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(grouped)[..]);
        assert_eq!(
            ["0", "87", "999", "1.00 k", "10.0 k", "999 k", "1.00 M", "12.9 M", "2.50 G"]
                .map(String::from),
            [0.0, 87.4, 999.4, 999.6, 9996.0, 999_400.0, 999_600.0, 12.94e6, 2.5e9].map(rounded)
        );
        let spans = [0, 999, 1000, 12_345, 60_000, 250_000, 96_000_000, 180_000_000];
        let texts =
            ["0 ms", "999 ms", "1 s", "12.3 s", "1 min", "4 min 10 s", "26 h 40 min", "2 days 2 h"];
        assert_eq!(spans.map(span_ms), texts.map(String::from));
        let spans = [800, 12_345, 4_250_000, 31_400_000, 2_000_000_000];
        let texts = ["800 ns", "12 µs", "4.2 ms", "31 ms", "2 s"];
        assert_eq!(spans.map(span_ns), texts.map(String::from));
        assert_eq!(time(1_704_067_200_000), "2024-01-01 00:00:00.000");
        assert_eq!(time(i64::MAX - 1), format!("{} ms", i64::MAX - 1));
    }
}
