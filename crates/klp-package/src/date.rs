// SPDX-License-Identifier: GPL-2.0-or-later
//! Dates in the changelogs of Debian packages.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Date of RFC 5322 in UTC. `seconds` counts from 1 January 1970.
pub(crate) fn rfc5322(seconds: u32) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS.get(days as usize % DAYS.len()).copied().unwrap_or_default();
    let mut year = 1970_u32;
    let is_leap =
        |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let year_length = |year| if is_leap(year) { 366 } else { 365 };
    while days >= year_length(year) {
        days -= year_length(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = "";
    for (name, length) in MONTHS.iter().zip(lengths) {
        month = name;
        if days < length {
            break;
        }
        days -= length;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000", days + 1)
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
