// SPDX-License-Identifier: GPL-2.0-or-later
//! RPM packages, written by crate `rpm`: rpmbuild refuses versions with two dashes, which kernel releases of Debian and Ubuntu
//! have.

use rpm::{
    BuildConfig, CompressionWithLevel, Dependency, DependencyFlags, FileOptions, PackageBuilder, Timestamp,
};

use crate::error::Error;
use crate::package::{Entry, FileKind, Format, Operator, Package, Phase, Relation, RelationKind};

/// Bytes of an RPM package.
pub(crate) fn encode(package: &Package) -> Result<Vec<u8>, Error> {
    let built = build(package).map_err(|error| package.illegal(error))?;
    let mut bytes = Vec::new();
    built.write(&mut bytes).map_err(|error| package.illegal(error))?;
    Ok(bytes)
}

fn build(package: &Package) -> Result<rpm::Package, rpm::Error> {
    let Package { version, origin, .. } = package;
    let arch = Format::Rpm.arch(package.arch);
    let mut builder =
        PackageBuilder::new(&package.name, &version.version, package.license, arch, &package.summary);
    let date = Timestamp(origin.date);
    let config = BuildConfig::v4().source_date(date).compression(CompressionWithLevel::Gzip(9));
    builder.using_config(config);
    builder
        .release(&version.release)
        .vendor("Ferrograft")
        .build_host("localhost")
        .packager(&origin.maintainer);
    builder.group("System Environment/Kernel").description(package.description.join("\n"));
    if version.epoch != 0 {
        builder.epoch(version.epoch);
    }
    let changes: Vec<String> = package.changes.iter().map(|line| format!("- {line}")).collect();
    let author = format!("{} - {version}", origin.maintainer);
    builder.add_changelog_entry(author, changes.join("\n"), date);
    for entry in &package.entries {
        match entry {
            Entry::Directory { path } => {
                builder.with_dir_entry(FileOptions::dir(path).permissions(0o755))?;
            }
            Entry::File { path, mode, bytes, kind } => {
                let options = FileOptions::new(path).permissions(*mode);
                let options = match kind {
                    FileKind::Plain => options,
                    FileKind::Doc => options.doc(),
                    FileKind::Config => options.config().noreplace(),
                };
                builder.with_file_contents(bytes.clone(), options)?;
            }
        }
    }
    let has_scripts = !package.scripts.is_empty();
    for relation in &package.relations {
        let dependency = dependency(relation, has_scripts);
        match relation.kind {
            RelationKind::Provides => builder.provides(dependency),
            RelationKind::Requires => builder.requires(dependency),
            RelationKind::Conflicts => builder.conflicts(dependency),
            RelationKind::Recommends => builder.recommends(dependency),
            RelationKind::Replaces => builder.obsoletes(dependency),
        };
    }
    for (phase, text) in &package.scripts {
        match phase {
            Phase::AfterInstall => builder.post_install_script(text.as_str()),
            Phase::BeforeRemove => builder.pre_uninstall_script(text.as_str()),
            Phase::AfterRemove => builder.post_uninstall_script(text.as_str()),
            Phase::AfterTransaction => builder.post_trans_script(text.as_str()),
        };
    }
    builder.build()
}

/// Dependency of a relation. What a package with scripts requires is there when they run, also at removal.
fn dependency(relation: &Relation, has_scripts: bool) -> Dependency {
    let name = relation.name.clone();
    let mut dependency = match &relation.version {
        None => Dependency::any(name),
        Some((Operator::Less, version)) => Dependency::less(name, version),
        Some((Operator::Equal, version)) => Dependency::eq(name, version),
        Some((Operator::AtLeast, version)) => Dependency::greater_eq(name, version),
    };
    if relation.kind == RelationKind::Requires && has_scripts {
        dependency.flags |= DependencyFlags::SCRIPT_POST | DependencyFlags::SCRIPT_POSTUN;
    }
    dependency
}
