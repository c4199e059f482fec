// SPDX-License-Identifier: GPL-2.0-or-later
//! Calendar times.

use std::time::{SystemTime, UNIX_EPOCH};

use klp_format::Date;

/// RFC 3339 form of a time in UTC: `2026-11-24T12:00:00Z`. A time before 1970 is shown as its first second, one after 9999
/// as its last day.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    let (day, second) = (seconds / 86400, seconds % 86400);
    let date = Date::of_day(day).map_or_else(|| "9999-12-31".to_owned(), |date| date.to_string());
    format!("{date}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::rfc3339;

    #[test]
    fn rfc3339_agrees_with_date() {
        // `date -u -d @N +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_521_600, "2026-11-24T12:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
