// SPDX-License-Identifier: GPL-2.0-or-later
//! Cases in a full system, as directories: `tests/systems/<name>/{case.toml,1.sh,2.sh,...}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;

/// Case with several boots.
#[derive(Clone, Debug)]
pub struct SystemCase {
    /// Name of the directory.
    pub name: String,
    /// Directory of the case.
    pub dir: PathBuf,
    /// One line: the property that the case tests.
    pub description: String,
    /// Names of artifacts; the provider maps them to files.
    pub artifacts: Vec<String>,
    /// Format of the packages that the case installs, for the provider. Without it, the loader's files lie on the disk.
    pub packages: Option<String>,
    /// True if the case needs one more repository, whose signature is not by the key that the guest trusts; for the provider.
    pub signed: bool,
    /// Operations whose power cuts the case is about, in order; each begins with the result of the one before. Such a case
    /// has the scripts `1.sh`, `cut.sh` and `after.sh`, and [`crate::PowerCuts`] runs it.
    pub operations: Vec<String>,
    /// Numbers, from 1, of the boots that end in a panic.
    pub crashes: Vec<usize>,
    /// Additional kernel parameters by number of the boot.
    pub append: BTreeMap<usize, String>,
    /// Host names of the guests of a fleet, which run at the same time ([`crate::FleetGuest`]). Empty for one guest.
    pub guests: Vec<String>,
    /// Time limit of each script.
    pub timeout: Duration,
    /// Scripts in their order.
    pub(crate) scripts: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    description: String,
    #[serde(default)]
    artifacts: Vec<String>,
    packages: Option<String>,
    #[serde(default)]
    signed: bool,
    #[serde(default)]
    operations: Vec<String>,
    #[serde(default)]
    guests: Vec<String>,
    #[serde(default)]
    crashes: Vec<usize>,
    #[serde(default)]
    append: BTreeMap<String, String>,
    #[serde(default = "usual_timeout")]
    timeout: u64,
}

fn usual_timeout() -> u64 {
    120
}

impl SystemCase {
    /// Reads all cases below `dir`, in order.
    ///
    /// # Errors
    /// A case is not readable or has no `case.toml` or no script; or there is no case.
    pub fn load_all(dir: &Path) -> Result<Vec<Self>, Error> {
        let mut dirs = Vec::new();
        for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let path = entry.map_err(Error::io("list", dir))?.path();
            if path.is_dir() {
                dirs.push(path);
            }
        }
        if dirs.is_empty() {
            let none = std::io::Error::other("it holds no case");
            return Err(Error::io("list", dir)(none));
        }
        dirs.sort();
        dirs.iter().map(|dir| Self::load(dir)).collect()
    }

    /// Reads the case in `dir`.
    ///
    /// # Errors
    /// It is not readable or has no `case.toml` or no script.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("case.toml");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let wrong = |message: String| Error::io("read", &path)(std::io::Error::other(message));
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let scripts: Vec<PathBuf> = (1..)
            .map(|number| dir.join(format!("{number}.sh")))
            .take_while(|script| script.is_file())
            .collect();
        if scripts.is_empty() {
            return Err(wrong("there is no 1.sh beside it".to_owned()));
        }
        let needed: &[&str] = if file.operations.is_empty() { &[] } else { &["cut.sh", "after.sh"] };
        if let Some(script) = needed.iter().find(|script| !dir.join(script).is_file()) {
            return Err(wrong(format!("`operations`: there is no {script} beside it")));
        }
        if !file.operations.is_empty() && scripts.len() != 1 {
            return Err(wrong("`operations`: 1.sh must be the only numbered script".to_owned()));
        }
        if let Some(number) = file.crashes.iter().find(|number| !(1..=scripts.len()).contains(*number)) {
            return Err(wrong(format!("`crashes`: there is no {number}.sh")));
        }
        let mut append = BTreeMap::new();
        for (number, words) in file.append {
            let known = number.parse().ok().filter(|number| (1..=scripts.len()).contains(number));
            append.insert(known.ok_or_else(|| wrong(format!("`append`: there is no {number}.sh")))?, words);
        }
        Ok(Self {
            append,
            name: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dir: dir.to_owned(),
            description: file.description,
            artifacts: file.artifacts,
            packages: file.packages,
            signed: file.signed,
            operations: file.operations,
            guests: file.guests,
            crashes: file.crashes,
            timeout: Duration::from_secs(file.timeout),
            scripts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_case_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let load =
            || SystemCase::load_all(dir.path()).map(|cases| cases.len()).map_err(|error| error.to_string());
        assert!(load().unwrap_err().contains("it holds no case"));
        let good = dir.path().join("good");
        fs::create_dir(&good).unwrap();
        fs::write(good.join("case.toml"), "description = 'x'").unwrap();
        assert!(load().unwrap_err().contains("1.sh"));
        fs::write(good.join("1.sh"), "").unwrap();
        assert_eq!(load(), Ok(1));
        fs::write(good.join("case.toml"), "description = 'x'\noperations = ['install']").unwrap();
        assert!(load().unwrap_err().contains("there is no cut.sh"));
        fs::write(good.join("cut.sh"), "").unwrap();
        assert!(load().unwrap_err().contains("there is no after.sh"));
        fs::write(good.join("after.sh"), "").unwrap();
        assert_eq!(load(), Ok(1));
        fs::write(good.join("2.sh"), "").unwrap();
        assert!(load().unwrap_err().contains("the only numbered script"));
        fs::create_dir(dir.path().join("bad")).unwrap();
        assert!(load().unwrap_err().contains("bad/case.toml"));
        assert!(SystemCase::load_all(&dir.path().join("none")).is_err());
    }
}
