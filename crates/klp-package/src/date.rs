// SPDX-License-Identifier: GPL-2.0-or-later
//! Dates in the changelogs of Debian packages.

use klp_format::Date;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Date of RFC 5322 in UTC. `seconds` counts from 1 January 1970.
pub(crate) fn rfc5322(seconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS.get(days as usize % DAYS.len()).copied().unwrap_or_default();
    // A u32 ends in 2106.
    let (year, month, day) = Date::of_day(days.into()).map(Date::parts).unwrap_or_default();
    let month = MONTHS.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or_default();
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (946_684_800, "Sat, 01 Jan 2000 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(rfc5322(seconds), text);
        }
    }
}
