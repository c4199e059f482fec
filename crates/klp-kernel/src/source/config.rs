// SPDX-License-Identifier: GPL-2.0-or-later
//! Configuration fragments: requested options, and the check that Kconfig accepted them.

use std::collections::BTreeMap;

/// Requested options without `CONFIG_`, with their values. `None` means "is not set".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted(BTreeMap<String, Option<String>>);

impl Wanted {
    /// Parses the lines `CONFIG_X=value` and `# CONFIG_X is not set` of a fragment. Other comments and empty
    /// lines are ignored.
    pub(super) fn add(&mut self, fragment: &str) -> Result<(), String> {
        for line in fragment.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let not_set = line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
            let (name, value) = match (not_set, line.strip_prefix("CONFIG_").and_then(|l| l.split_once('=')))
            {
                (Some(name), _) => (name, None),
                (None, Some((_, "n"))) => return Err(format!("`{line}`: write `# ... is not set`")),
                (None, Some((name, value))) => (name, Some(value.to_owned())),
                (None, None) if line.starts_with('#') => continue,
                (None, None) => {
                    return Err(format!("`{line}` is neither CONFIG_X=value nor `# CONFIG_X is not set`"));
                }
            };
            if let Some(other) = self.0.insert(name.to_owned(), value.clone())
                && other != value
            {
                return Err(format!("CONFIG_{name} is asked for twice, with different values"));
            }
        }
        Ok(())
    }

    /// The options as text for Kconfig (`KCONFIG_ALLCONFIG`).
    pub(super) fn text(&self) -> String {
        let line = |(name, value): (&String, &Option<String>)| match value {
            Some(value) => format!("CONFIG_{name}={value}\n"),
            None => format!("# CONFIG_{name} is not set\n"),
        };
        self.0.iter().map(line).collect()
    }

    /// Differences between the requested options and the configuration that Kconfig generated, one line each.
    pub(super) fn not_in(&self, config: &str) -> Vec<String> {
        let made: BTreeMap<&str, &str> =
            config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect();
        let differs = |(name, value): (&String, &Option<String>)| {
            let found = made.get(name.as_str()).copied();
            (found != value.as_deref()).then(|| {
                let word =
                    |value: Option<&str>| value.map_or_else(|| "not set".to_owned(), |v| format!("={v}"));
                format!("CONFIG_{name}: asked for {}, it is {}", word(value.as_deref()), word(found))
            })
        };
        self.0.iter().filter_map(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_kconfig_changed_are_reported() {
        let mut wanted = Wanted::default();
        wanted.add("# For people.\nCONFIG_A=y\n\nCONFIG_B=\"x\"\n# CONFIG_C is not set\n").unwrap();
        assert_eq!(wanted.text(), "CONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\n");
        assert_eq!(wanted.not_in("CONFIG_A=y\nCONFIG_B=\"x\"\n"), [""; 0]);
        assert_eq!(
            wanted.not_in("CONFIG_A=m\n# CONFIG_B is not set\nCONFIG_C=y\n"),
            [
                "CONFIG_A: asked for =y, it is =m",
                "CONFIG_B: asked for =\"x\", it is not set",
                "CONFIG_C: asked for not set, it is =y"
            ]
        );
    }

    #[test]
    fn wrong_lines_are_refused() {
        for (text, expected) in [
            ("A=y", "is neither"),
            ("CONFIG_A=n", "write `# ... is not set`"),
            ("CONFIG_A=y\n# CONFIG_A is not set", "asked for twice"),
        ] {
            let error = Wanted::default().add(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
