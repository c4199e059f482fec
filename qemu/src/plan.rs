// SPDX-License-Identifier: GPL-2.0-or-later
//! Groups of cases that share a boot, and the files of their initramfs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use klp_base::events::Verdict;
use klp_base::process::shell_quote;

use crate::case::{Case, ENVIRONMENT, program_name};
use crate::error::Error;
use crate::guest::{Guest, Kernel};
use crate::initramfs::Initramfs;

/// Reasons for a missing artifact.
#[derive(Clone, Debug)]
pub enum ArtifactError {
    /// The artifact could not be made: the case fails.
    Failed(String),
    /// This host cannot make the artifact: the case is not able.
    NotAble(String),
}

/// Request of a case to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Artifact by its name. The meaning of a name is up to the provider.
    Artifact(&'a str),
    /// Program of a C file, for the guest.
    Program(&'a Path),
}

/// Host files for one wish of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// The file itself.
    pub file: PathBuf,
    /// Modules that the kernel needs before the file is loaded, in the order to load them.
    pub needs: Vec<PathBuf>,
}

impl From<PathBuf> for Supply {
    fn from(file: PathBuf) -> Self {
        Self { file, needs: Vec::new() }
    }
}

/// Provider of the files of cases.
pub trait Provider: Sync {
    /// Host files for a request of a case, for `kernel`.
    ///
    /// # Errors
    /// [`ArtifactError`], which determines the verdict of the case.
    fn supply(&self, kernel: &Kernel, wanted: Wanted<'_>) -> Result<Supply, ArtifactError>;
}

impl<F: Fn(&Kernel, Wanted<'_>) -> Result<Supply, ArtifactError> + Sync> Provider for F {
    fn supply(&self, kernel: &Kernel, wanted: Wanted<'_>) -> Result<Supply, ArtifactError> {
        self(kernel, wanted)
    }
}

/// A case with its files, for one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) case: Case,
    artifacts: Vec<Artifact>,
    /// Programs: path in the guest, file of the host.
    programs: Vec<(String, PathBuf)>,
}

/// Files of an artifact: paths in the guest, with files of the host.
#[derive(Clone, Debug)]
struct Artifact {
    name: String,
    path: String,
    file: PathBuf,
    needs: Vec<(String, PathBuf)>,
}

impl Artifact {
    fn files(&self) -> impl Iterator<Item = (&String, &PathBuf)> {
        let needs = self.needs.iter().map(|(path, file)| (path, file));
        needs.chain([(&self.path, &self.file)])
    }

    /// Name of the file that both artifacts would have in the guest. They may need the same module.
    fn clash(&self, other: &Self) -> Option<&str> {
        let differs = |(path, file): &(&String, &PathBuf)| {
            other.files().any(|known| known.0 == *path && known.1 != *file)
        };
        let same = (self.path == other.path).then_some(&self.path);
        let path = same.or_else(|| self.files().find(differs).map(|(path, _)| path))?;
        path.rsplit('/').next()
    }
}

/// Cases that share a boot.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Index of the guest.
    pub(crate) guest: usize,
    pub(crate) cpus: u32,
    pub(crate) append: String,
    pub(crate) cpu_model: Option<String>,
    pub(crate) iteration: u32,
    pub(crate) cases: Vec<Planned>,
}

impl Group {
    /// Minimum number of cases per boot when a group is split.
    const WORTH_A_BOOT: usize = 4;

    /// True if two groups use the same machine configuration.
    pub(crate) fn same_machine(&self, other: &Self) -> bool {
        let machine = |group: &Self| (group.guest, group.cpus, group.append.clone(), group.cpu_model.clone());
        machine(self) == machine(other)
    }

    /// One group per case.
    pub(crate) fn alone(self) -> Vec<Self> {
        let cases = self.cases.iter();
        cases.map(|planned| Self { cases: vec![planned.clone()], ..self.clone() }).collect()
    }

    /// Splits the group into several boots, for workers that would be idle during one long boot: two boots per worker,
    /// so that the workers end at about the same time.
    pub(crate) fn split(self, workers: u32) -> Vec<Self> {
        let boots = if workers > 1 { workers as usize * 2 } else { 1 };
        let size = self.cases.len().div_ceil(boots).max(Self::WORTH_A_BOOT);
        let cases = self.cases.chunks(size);
        cases
            .map(|cases| Self {
                cases: cases.to_vec(),
                append: self.append.clone(),
                cpu_model: self.cpu_model.clone(),
                ..self
            })
            .collect()
    }
}

/// Case that does not run, with the reason.
pub(crate) struct NotRun {
    pub(crate) case: String,
    pub(crate) kernel: String,
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
}

/// Work of a run.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
    pub(crate) not_run: Vec<NotRun>,
}

impl Plan {
    /// Resolves artifacts and groups the cases by kernel, number of CPUs, CPU model and command line, in the given
    /// order.
    pub(crate) fn new(
        guests: &[Guest],
        cases: &[Case],
        provider: &dyn Provider,
        repeat: u32,
    ) -> Result<Self, Error> {
        let mut plan = Self::default();
        for (index, guest) in guests.iter().enumerate() {
            for case in cases.iter().filter(|case| case.is_for(&guest.kernel.id)) {
                match plan_case(&guest.kernel, case, provider) {
                    Ok(planned) => plan.place(index, planned),
                    Err((verdict, reason)) => plan.not_run.push(NotRun {
                        case: case.name.clone(),
                        kernel: guest.kernel.id.clone(),
                        verdict,
                        reason,
                    }),
                }
            }
        }
        if plan.groups.is_empty() && plan.not_run.is_empty() {
            return Err(Error::NothingSelected {
                cases: cases.iter().map(|case| case.name.clone()).collect(),
                kernels: guests.iter().map(|guest| guest.kernel.id.clone()).collect(),
            });
        }
        let once = plan.groups.clone();
        plan.groups.extend(
            (2..=repeat)
                .flat_map(|iteration| once.iter().map(move |group| Group { iteration, ..group.clone() })),
        );
        Ok(plan)
    }

    fn place(&mut self, guest: usize, planned: Planned) {
        let Case { cpus, append, cpu_model, .. } = planned.case.clone();
        let fits = |group: &&mut Group| {
            group.guest == guest
                && group.cpus == cpus
                && group.append == append
                && group.cpu_model == cpu_model
        };
        let shares = |group: &Group| !group.cases.iter().any(|planned| planned.case.own_boot);
        match self.groups.iter_mut().find(|group| fits(group) && shares(group) && !planned.case.own_boot) {
            Some(group) => group.cases.push(planned),
            None => {
                let cases = vec![planned];
                self.groups.push(Group { guest, cpus, append, cpu_model, iteration: 1, cases });
            }
        }
    }
}

fn plan_case(kernel: &Kernel, case: &Case, provider: &dyn Provider) -> Result<Planned, (Verdict, String)> {
    if let Some(reason) = case.skip.get(&kernel.id) {
        return Err((Verdict::Skipped, reason.clone()));
    }
    let supply = |wanted: Wanted<'_>, what: String| {
        provider.supply(kernel, wanted).map_err(|error| match error {
            ArtifactError::Failed(why) => (Verdict::Failed, format!("{what}: {why}")),
            ArtifactError::NotAble(why) => (Verdict::NotAble, format!("{what}: {why}")),
        })
    };
    let mut artifacts: Vec<Artifact> = Vec::new();
    for name in &case.artifacts {
        let made = supply(Wanted::Artifact(name), format!("artifact `{name}`"))?;
        let placed = |file: PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            (format!("/artifacts/{}/{name}", case.name), file)
        };
        let (path, file) = placed(made.file);
        let needs = made.needs.into_iter().map(placed).collect();
        let artifact = Artifact { name: name.clone(), path, file, needs };
        let clash = artifacts.iter().find_map(|other| Some((other, artifact.clash(other)?)));
        if let Some((other, file)) = clash {
            let reason = format!("artifacts `{}` and `{name}` are both named {file}; rename one", other.name);
            return Err((Verdict::Failed, reason));
        }
        artifacts.push(artifact);
    }
    let mut programs = Vec::new();
    for source in &case.programs {
        let file = case.dir.join(source);
        let made = supply(Wanted::Program(&file), format!("program `{source}` of case {}", case.name))?;
        programs.push((format!("{}/{}", guest_dir(&case.name), program_name(source)), made.file));
    }
    Ok(Planned { case: case.clone(), artifacts, programs })
}

/// Directory in the guest for the files of a case, which is the working directory of `run.sh`.
fn guest_dir(case: &str) -> String {
    format!("/cases/{case}")
}

/// Directory in the guest for the evidence of a case.
pub(crate) fn guest_evidence(case: &str) -> String {
    format!("/run/evidence/{case}")
}

/// Name of the variable with the path of an artifact in the guest.
fn variable(artifact: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("KO_{}", artifact.chars().map(plain).collect::<String>())
}

impl Planned {
    /// Adds the files of the case: its directory, its programs, its artifacts, and its variables in `env`. Beside a module
    /// that needs others, a file `<module>.needs` lists their paths in the order to load them.
    pub(crate) fn add_to(&self, root: &mut Initramfs, kernel: &Kernel) -> Result<(), Error> {
        let dir = guest_dir(&self.case.name);
        root.add_dir(&dir, &self.case.dir)?;
        for (path, file) in &self.programs {
            root.add_program(path, file)?;
        }
        for artifact in &self.artifacts {
            for (path, file) in artifact.files() {
                root.add_file(path, 0o644, file)?;
            }
            if !artifact.needs.is_empty() {
                let list: String = artifact.needs.iter().map(|(path, _)| format!("{path}\n")).collect();
                root.add(&format!("{}.needs", artifact.path), 0o644, list.into_bytes());
            }
        }
        root.add(&format!("{dir}/{ENVIRONMENT}"), 0o644, self.environment(kernel).into_bytes());
        Ok(())
    }

    fn environment(&self, kernel: &Kernel) -> String {
        let mut variables = BTreeMap::from([
            ("ARCH".to_owned(), kernel.arch.name().to_owned()),
            ("CASE".to_owned(), self.case.name.clone()),
            ("COLLECT".to_owned(), self.case.collect.join(" ")),
            ("EVIDENCE".to_owned(), guest_evidence(&self.case.name)),
            ("KERNEL".to_owned(), kernel.id.clone()),
            ("RELEASE".to_owned(), kernel.release.clone()),
        ]);
        variables.extend(self.artifacts.iter().map(|made| (variable(&made.name), made.path.clone())));
        variables
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", shell_quote(OsStr::new(value))))
            .collect()
    }
}

/// Initramfs for cases that share a boot.
pub(crate) fn initramfs(guest: &Guest, cases: &[Planned]) -> Result<Initramfs, Error> {
    let mut root = Initramfs::guest(&guest.files)?;
    for planned in cases {
        planned.add_to(&mut root, &guest.kernel)?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use klp_base::arch::Arch;

    use crate::guest::GuestFiles;

    fn guest(id: &str) -> Guest {
        Guest {
            kernel: Kernel {
                id: id.to_owned(),
                arch: Arch::X86_64,
                image: PathBuf::from("vmlinuz"),
                release: "6.12".to_owned(),
            },
            files: GuestFiles {
                program: PathBuf::from("guest"),
                busybox: PathBuf::from("busybox"),
                lib: PathBuf::from("lib"),
                extra: BTreeMap::new(),
            },
        }
    }

    #[test]
    fn the_compilers_error_names_case_and_file() {
        let broken = Case { programs: vec!["fault.c".to_owned()], ..case("a", "") };
        let plan = Plan::new(&[guest("k")], &[broken], &provide, 1).unwrap();
        let reason = &plan.not_run[0].reason;
        assert!(
            reason.starts_with("program `fault.c` of case a: ") && reason.ends_with("/a/fault.c: syntax"),
            "{reason}"
        );
    }

    fn case(name: &str, more: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("case.toml"), format!("description = 'x'\n{more}")).unwrap();
        std::fs::write(path.join("run.sh"), "").unwrap();
        crate::case::load(&path).unwrap()
    }

    fn provide(_: &Kernel, wanted: Wanted<'_>) -> Result<Supply, ArtifactError> {
        let file = |name: &str| PathBuf::from(format!("/host/{name}.ko"));
        match wanted {
            Wanted::Artifact("broken") => Err(ArtifactError::Failed("no compiler".to_owned())),
            Wanted::Artifact("absent") => Err(ArtifactError::NotAble("no network".to_owned())),
            Wanted::Artifact("bridge") => {
                Ok(Supply { file: file("bridge"), needs: vec![file("llc"), file("stp")] })
            }
            Wanted::Artifact("other-stp") => Ok(PathBuf::from("/other/stp.ko").into()),
            Wanted::Artifact(name) => Ok(file(name.split('@').next().unwrap_or_default()).into()),
            Wanted::Program(source) => Err(ArtifactError::Failed(format!("{}: syntax", source.display()))),
        }
    }

    #[test]
    fn cases_share_a_boot_where_they_may() {
        let cases = [
            case("a", ""),
            case("b", "own_boot = true"),
            case("c", ""),
            case("d", "cpus = 2"),
            case("e", "append = 'nopti'"),
            case("f", "kernels = ['other']"),
        ];
        let plan = Plan::new(&[guest("k")], &cases, &provide, 2).unwrap();
        let names: Vec<(u32, String)> = plan
            .groups
            .iter()
            .map(|group| {
                (group.iteration, group.cases.iter().map(|planned| planned.case.name.as_str()).collect())
            })
            .collect();
        let once = ["ac", "b", "d", "e"];
        let expected: Vec<(u32, String)> =
            [1, 2].iter().flat_map(|&iteration| once.map(|names| (iteration, names.to_owned()))).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn workers_get_boots_of_their_own_where_that_is_worth_it() {
        let cases: Vec<Case> = (0..18).map(|number| case(&format!("c{number:02}"), "")).collect();
        let split = |count: usize, workers| -> Vec<usize> {
            let plan = Plan::new(&[guest("k")], &cases[..count], &provide, 1).unwrap();
            let groups: Vec<Group> = plan.groups.into_iter().flat_map(|group| group.split(workers)).collect();
            let names: Vec<&str> = groups
                .iter()
                .flat_map(|group| &group.cases)
                .map(|planned| planned.case.name.as_str())
                .collect();
            assert_eq!(names, cases[..count].iter().map(|case| case.name.as_str()).collect::<Vec<_>>());
            groups.iter().map(|group| group.cases.len()).collect()
        };
        assert_eq!(split(18, 1), [18]);
        assert_eq!(split(18, 2), [5, 5, 5, 3]);
        assert_eq!(split(5, 2), [4, 1]);
        assert_eq!(split(3, 2), [3]);
    }

    #[test]
    fn what_is_not_run_has_a_verdict_and_a_reason() {
        let cases = [
            case("a", "artifacts = ['broken']"),
            case("b", "artifacts = ['absent']"),
            case("c", "skip = { k = 'too old' }"),
            case("d", "artifacts = ['peek', 'peek@kbuild']"),
            case("e", "artifacts = ['bridge', 'other-stp']"),
        ];
        let plan = Plan::new(&[guest("k")], &cases, &provide, 1).unwrap();
        let verdicts: Vec<Verdict> = plan.not_run.iter().map(|not_run| not_run.verdict).collect();
        let failed = Verdict::Failed;
        assert_eq!(verdicts, [failed, Verdict::NotAble, Verdict::Skipped, failed, failed]);
        assert!(plan.groups.is_empty());
        assert!(plan.not_run[4].reason.contains("stp.ko"), "{}", plan.not_run[4].reason);
        assert!(plan.not_run[3].reason.contains("peek.ko"), "{}", plan.not_run[3].reason);
    }

    #[test]
    fn modules_that_a_module_needs_are_files_of_the_case() {
        let plan =
            Plan::new(&[guest("k")], &[case("a", "artifacts = ['bridge', 'stp']")], &provide, 1).unwrap();
        let paths: Vec<&str> =
            plan.groups[0].cases[0].artifacts[0].files().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/artifacts/a/llc.ko", "/artifacts/a/stp.ko", "/artifacts/a/bridge.ko"]);
    }

    #[test]
    fn nothing_for_a_kernel_is_an_error() {
        let error = Plan::new(&[guest("k")], &[case("f", "kernels = ['other']")], &provide, 1).err().unwrap();
        assert!(matches!(error, Error::NothingSelected { .. }), "{error}");
    }

    #[test]
    fn variables_of_a_case() {
        let plan =
            Plan::new(&[guest("k")], &[case("a", "artifacts = ['peek@kbuild']")], &provide, 1).unwrap();
        let text = plan.groups[0].cases[0].environment(&guest("k").kernel);
        assert!(text.contains("export KO_peek_kbuild=/artifacts/a/peek.ko\n"), "{text}");
        assert!(text.contains("export EVIDENCE=/run/evidence/a\n"), "{text}");
    }
}
