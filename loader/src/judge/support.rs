// SPDX-License-Identifier: GPL-2.0-or-later
//! Statements of the enabled patches about what they do not cover: CVEs that are not repaired, and the end of support.

use std::time::{SystemTime, UNIX_EPOCH};

use klp_format::Date;
use klp_module::{Affected, Manifest};
use serde::Serialize;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// End of support of a loaded patch's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Support {
    pub(crate) module: String,
    pub(crate) stream: String,
    /// Last day of support (UTC).
    pub(crate) end: String,
    /// True if that day is over.
    pub(crate) ended: bool,
    /// End of that day, in seconds since 1970.
    #[serde(skip)]
    pub(crate) timestamp: u64,
}

/// End of support of a patch; `None` if its manifest names none.
///
/// # Errors
/// The manifest's text is no date; the message says so.
pub(crate) fn of_patch(
    module: &str,
    manifest: &Manifest,
    now: SystemTime,
) -> Result<Option<Support>, String> {
    let Some(text) = &manifest.support_end else {
        return Ok(None);
    };
    let date = Date::parse(text)
        .ok_or_else(|| format!("the end of support of {module}: {text:?} in its manifest is no date"))?;
    let timestamp = u64::try_from(date.days_since_epoch() + 1).unwrap_or(0) * DAY;
    let now = now.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    Ok(Some(Support {
        module: module.to_owned(),
        stream: manifest.stream.clone(),
        end: date.to_string(),
        ended: now >= timestamp,
        timestamp,
    }))
}

/// Sentence about a support that has ended.
pub(crate) fn sentence(support: &Support) -> String {
    format!(
        "support of stream {} ended on {}: this kernel gets no further fixes; change to a supported kernel",
        support.stream, support.end
    )
}

/// CVEs that these manifests name as not repaired, sorted by name, without those of `fixed`.
pub(crate) fn affected<'a>(manifests: impl Iterator<Item = &'a Manifest>, fixed: &[String]) -> Vec<Affected> {
    let mut all: Vec<Affected> = manifests.flat_map(Manifest::affected).cloned().collect();
    all.retain(|affected| !fixed.contains(&affected.cve));
    all.sort_by(|one, other| one.cve.cmp(&other.cve));
    all.dedup_by(|one, other| one.cve == other.cve);
    all
}
