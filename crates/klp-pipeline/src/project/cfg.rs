// SPDX-License-Identifier: GPL-2.0-or-later
//! Questions of a fix about the target kernel.

use klp_format::parse_version;
use serde::Deserialize;

use crate::rust_name::is_rust_name;

/// Questions of a fix about the target kernel; each becomes a `cfg` value of rustc.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cfg {
    /// `struct.member`: the struct has this member.
    #[serde(default)]
    pub has_member: Vec<String>,
    /// A function: it exists and is not inlined everywhere.
    #[serde(default)]
    pub has_function: Vec<String>,
    /// `6.12`: the kernel has this version or a newer one.
    #[serde(default)]
    pub kernel_at_least: Vec<String>,
}

impl Cfg {
    /// Names and values, in the order of the file.
    pub fn questions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("has_member", &self.has_member),
            ("has_function", &self.has_function),
            ("kernel_at_least", &self.kernel_at_least),
        ]
        .into_iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value.as_str())))
    }

    /// The first malformed value, with the correct form.
    pub(super) fn wrong(&self) -> Option<String> {
        let member =
            |text: &&String| text.split_once('.').is_none_or(|(a, b)| !is_rust_name(a) || !is_rust_name(b));
        let wrong_member = self.has_member.iter().find(member);
        let wrong_version = self.kernel_at_least.iter().find(|text| parse_version(text).is_none());
        wrong_member
            .map(|text| format!("`has_member`: {text:?} should look like \"seq_file.private\""))
            .or_else(|| {
                wrong_version.map(|text| format!("`kernel_at_least`: {text:?} should look like \"6.12\""))
            })
    }
}
