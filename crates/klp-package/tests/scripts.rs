// SPDX-License-Identifier: GPL-2.0-or-later
//! Scripts of packages, run by rpm and dpkg in a root of their own with the real `kpatch`.

use std::path::{Path, PathBuf};

use crate::support::root::{KPATCH, Root, fails, root_with_stub, run};
use crate::support::{self, RELEASE, packages, tool, write};
use klp_base::process::Cmd;
use klp_package::{Entry, Format, Loader, LoaderFiles, Origin, Package, Phase};

const OLD: &str = "kpatch_6_12_117_deb12_amd64_1_2";
const NEW: &str = "kpatch_6_12_117_deb12_amd64_1_10";

struct Machine {
    root: Root,
    format: Format,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(format: Format, running: &str) -> Self {
        Self { root: root_with_stub(format, running), format, dir: tempfile::tempdir().unwrap() }
    }

    fn package(&self, version: (u32, u32), change: impl Fn(&mut Package)) -> PathBuf {
        let mut package = packages(self.format, RELEASE, version).remove(0);
        change(&mut package);
        write(self.dir.path(), &package)
    }

    fn install_file(&self, file: &Path) -> Cmd {
        let file = file.to_str().unwrap();
        match self.format {
            Format::Rpm => self.root.rpm(&["-U", "--oldpackage", file]),
            Format::Deb => self.root.dpkg(&["--install", file]),
        }
    }

    fn install(&self, version: (u32, u32)) -> Cmd {
        self.install_file(&self.package(version, |_| {}))
    }

    fn reinstall(&self, version: (u32, u32)) -> Cmd {
        let file = self.package(version, |_| {});
        match self.format {
            Format::Rpm => self.root.rpm(&["-U", "--replacepkgs", file.to_str().unwrap()]),
            Format::Deb => self.install_file(&file),
        }
    }

    fn remove(&self) -> Cmd {
        let name = packages(self.format, RELEASE, (0, 0)).remove(0).name;
        match self.format {
            Format::Rpm => self.root.rpm(&["-e", &name]),
            Format::Deb => self.root.dpkg(&["--remove", &name]),
        }
    }
}

fn ko(name: &str) -> String {
    format!("{name}.ko")
}

fn each(work: impl Fn(Format)) {
    Format::ALL.into_iter().for_each(work);
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn install_patches_the_running_kernel() {
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        run(machine.install((0, 0)));
        assert!(machine.root.store(RELEASE).is_empty() && machine.root.loaded().is_empty());
        let ran = run(machine.install((1, 2)));
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)], "{}", ran.stderr_text());
        assert_eq!(machine.root.loaded(), [OLD]);
        assert!(machine.root.path(&format!("usr/lib/kpatch/{RELEASE}/{OLD}.ko")).is_file());
        assert!(machine.root.calls().contains(&"systemctl enable kpatch.service".to_owned()));
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn install_loads_nothing_into_another_kernel_or_from_a_chroot() {
    each(|format| {
        let machine = Machine::new(format, "6.1.0-49-amd64");
        run(machine.install((1, 2)));
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)]);
        assert!(machine.root.loaded().is_empty());

        let machine = Machine::new(format, RELEASE);
        std::fs::remove_file(machine.root.path("proc/1/root")).unwrap();
        run(machine.install((1, 2)));
        assert!(machine.root.loaded().is_empty(), "an image build patches the kernel of the build machine");
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn an_upgrade_whose_module_cannot_be_installed_keeps_the_old_one() {
    let broken = |package: &mut Package| {
        for entry in &mut package.entries {
            if let Entry::File { path, bytes, .. } = entry
                && path.ends_with(".ko")
            {
                bytes.truncate(100);
            }
        }
    };
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        run(machine.install((1, 2)));
        let upgrade = machine.install_file(&machine.package((1, 10), broken));
        let said = match format {
            Format::Rpm => run(upgrade).stderr_text(),
            Format::Deb => fails(upgrade),
        };
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)], "{said}");
        assert_eq!(machine.root.loaded(), [OLD]);
        // The next version takes the place of what was left behind.
        run(machine.install((1, 11)));
        let newest = "kpatch_6_12_117_deb12_amd64_1_11";
        assert_eq!(machine.root.store(RELEASE), [ko(newest)]);
        assert_eq!(machine.root.loaded(), [newest]);
        run(machine.remove());
        assert!(machine.root.store(RELEASE).is_empty());
    });
}

/// Violation of a rule in an upgrade from 1-2 to 1-10 and the removal after it; the packages are changed by `change`.
fn upgrade_fault(format: Format, change: impl Fn(&mut Package) + Copy) -> Option<String> {
    let machine = Machine::new(format, RELEASE);
    run(machine.install_file(&machine.package((1, 2), change)));
    machine.root.states();
    machine.root.calls();
    run(machine.install_file(&machine.package((1, 10), change)));
    let states = machine.root.states();
    if let Some(gap) = states.iter().find(|state| !state.contains(".ko") || state.contains('*')) {
        return Some(format!("a reboot finds no patch: {gap} in {states:?}"));
    }
    if machine.root.calls().iter().any(|call| call.starts_with("systemctl enable")) {
        return Some("the upgrade enables the service".to_owned());
    }
    if machine.root.loaded() != [NEW] {
        return Some(format!("loaded: {:?}", machine.root.loaded()));
    }
    if machine.root.store(RELEASE) != [ko(NEW)] {
        return Some(format!("installed: {:?}", machine.root.store(RELEASE)));
    }
    run(machine.remove());
    if !machine.root.store(RELEASE).is_empty() {
        return Some(format!("installed after the removal: {:?}", machine.root.store(RELEASE)));
    }
    if machine.root.loaded() != [NEW] || machine.root.calls().iter().any(|call| call.contains("unload")) {
        return Some("the removal unloads the patch".to_owned());
    }
    None
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn upgrade_keeps_a_patch_for_the_next_boot_at_every_moment() {
    each(|format| assert_eq!(upgrade_fault(format, |_| {}), None, "{format:?}"));
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn the_test_of_upgrades_sees_broken_scripts() {
    let without =
        |phase: Phase| move |package: &mut Package| package.scripts.retain(|(its, _)| *its != phase);
    each(|format| {
        assert!(upgrade_fault(format, without(Phase::AfterInstall)).is_some(), "{format:?}");
        let removal = if format == Format::Rpm { Phase::AfterRemove } else { Phase::BeforeRemove };
        assert!(upgrade_fault(format, without(removal)).is_some(), "{format:?}");
        let unloads = |package: &mut Package| {
            for (phase, text) in &mut package.scripts {
                if *phase != Phase::AfterInstall {
                    *text =
                        text.replace("kpatch uninstall", "rm -r /sys/kernel/livepatch/*; kpatch uninstall");
                }
            }
        };
        assert!(upgrade_fault(format, unloads).is_some(), "{format:?}");
    });
    // The gap that Debian's order of scripts opens: the old package uninstalls before the new one installs.
    let gap = |package: &mut Package| {
        for (phase, text) in &mut package.scripts {
            if *phase == Phase::BeforeRemove {
                *text = text.replace("    remove)", "    remove | upgrade)");
            }
        }
    };
    let fault = upgrade_fault(Format::Deb, gap).unwrap();
    assert!(fault.starts_with("a reboot finds no patch"), "{fault}");
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn scripts_can_run_again() {
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        run(machine.install((1, 2)));
        let ran = run(machine.reinstall((1, 2)));
        assert_eq!(
            machine.root.store(RELEASE),
            [ko(OLD)],
            "{format:?}: {}{}",
            ran.stdout_text(),
            ran.stderr_text()
        );
        assert_eq!(machine.root.loaded(), [OLD]);
        // Taken out by hand: the removal has nothing to do, and does not fail.
        std::fs::remove_file(machine.root.path(&format!("var/lib/kpatch/{RELEASE}/{OLD}.ko"))).unwrap();
        run(machine.remove());
        run(machine.install((1, 2)));
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)]);
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn an_older_patch_is_not_loaded_over_a_newer_one() {
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        run(machine.install((1, 10)));
        machine.root.set_loaded("another_patch");
        let ran = run(machine.install((1, 2)));
        let said = format!("{}{}", ran.stdout_text(), ran.stderr_text());
        let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("WARNING: ")).collect();
        assert_eq!(
            warnings,
            [
                format!("WARNING: {OLD} is installed but not loaded: the newer live patch {NEW} is loaded."),
                format!("WARNING: a reboot is needed to go back to {OLD}."),
            ]
        );
        assert!(machine.root.loaded().contains(&NEW.to_owned()), "{format:?}");
        // The next boot loads the older one.
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)]);
        // To the empty package: nothing is left for the next boot, and the kernel stays as it is.
        run(machine.install((0, 0)));
        assert!(machine.root.store(RELEASE).is_empty(), "{format:?}");
        assert!(machine.root.loaded().contains(&NEW.to_owned()));
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn a_module_that_does_not_load_does_not_fail_the_package() {
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        std::fs::write(machine.root.path("load-fails"), "").unwrap();
        let ran = run(machine.install((1, 2)));
        let said = format!("{}{}", ran.stdout_text(), ran.stderr_text());
        assert!(
            said.contains(&format!("WARNING: {OLD} is installed but not loaded; `kpatch check {OLD}`")),
            "{said}"
        );
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)]);
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn a_module_that_cannot_be_installed_is_not_loaded() {
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        // Another build of the same name is there.
        let store = machine.root.path(&format!("var/lib/kpatch/{RELEASE}"));
        std::fs::create_dir_all(&store).unwrap();
        let mut other = support::Sample::of(RELEASE, (1, 2));
        other.manifest_release = "6.1".to_owned();
        std::fs::write(store.join(ko(OLD)), other.bytes()).unwrap();
        let said = match format {
            // rpm goes on, and says how to try again.
            Format::Rpm => {
                let ran = run(machine.install((1, 2)));
                format!("{}{}", ran.stdout_text(), ran.stderr_text())
            }
            // dpkg keeps the package half-configured; after the cause is gone, --configure finishes.
            Format::Deb => fails(machine.install((1, 2))),
        };
        assert!(said.contains("already installed"), "{said}");
        assert!(machine.root.loaded().is_empty());
        std::fs::remove_file(store.join(ko(OLD))).unwrap();
        match format {
            Format::Rpm => {
                assert!(said.contains("to try again: reinstall the package"), "{said}");
                run(machine.reinstall((1, 2)));
            }
            Format::Deb => {
                run(machine.root.dpkg(&["--configure", "--pending"]));
            }
        }
        assert_eq!(machine.root.loaded(), [OLD]);
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)]);
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn files_get_the_label_of_modules_where_selinux_is_on() {
    each(|format| {
        let machine = Machine::new(format, RELEASE);
        machine.root.program("usr/bin/chcon", "#!/bin/sh\necho \"chcon $*\" >> /calls\n");
        run(machine.install((1, 2)));
        assert!(machine.root.calls().iter().all(|call| !call.starts_with("chcon")), "without SELinux");
        machine.root.program("usr/bin/selinuxenabled", "#!/bin/sh\n");
        run(machine.install((1, 10)));
        let labels = format!(
            "chcon -t modules_object_t /usr/lib/kpatch/{RELEASE}/{NEW}.ko /var/lib/kpatch/{RELEASE}/{NEW}.ko"
        );
        let calls = machine.root.calls();
        let at = |text: &str| calls.iter().position(|call| call.starts_with(text));
        assert!(at(&labels).is_some() && at(&labels) < at("kpatch load"), "{calls:?}");
    });
}

/// Package of kpatch whose program is that of the test roots.
fn loader(format: Format, release: &str) -> Package {
    let files = LoaderFiles {
        program: KPATCH.into(),
        units: vec![("kpatch.service".to_owned(), b"[Service]\n".to_vec())],
        ..LoaderFiles::default()
    };
    let mut package =
        Loader::new(klp_base::arch::Arch::X86_64, files).package(format, &Origin::default()).unwrap();
    package.version.release = release.to_owned();
    package
}

/// Units that a package of kpatch enabled and disabled, at the first installation and at an upgrade.
fn enabled(format: Format, change: impl Fn(&mut Package)) -> (Vec<String>, Vec<String>) {
    let machine = Machine::new(format, RELEASE);
    // The administrator disables the units after the first installation.
    machine.root.program(
        "usr/bin/deb-systemd-helper",
        "#!/bin/sh\n[ \"$2\" != was-enabled ] || [ ! -e /usr/lib/second ] || exit 1\necho \"systemctl $1 $2\" >> /calls\n",
    );
    let calls = |release: &str| {
        let mut package = loader(format, release);
        change(&mut package);
        run(machine.install_file(&write(machine.dir.path(), &package)));
        let calls = machine.root.calls().into_iter();
        calls.filter(|call| call.contains(" enable ") || call.contains("disable")).collect::<Vec<_>>()
    };
    let first = calls("1");
    std::fs::write(machine.root.path("usr/lib/second"), "").unwrap();
    (first, calls("2"))
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn units_are_enabled_at_the_first_installation_only() {
    each(|format| {
        let (first, second) = enabled(format, |_| {});
        for unit in ["kpatch.service", "kpatch-confirm.service", "kpatch-settle.path"] {
            assert!(first.iter().any(|call| call.contains(unit)), "{format:?}: {first:?}");
        }
        assert_eq!(second, [""; 0], "{format:?}");
        // The test sees a script that enables them each time.
        let (_, second) = enabled(format, |package| {
            for (_, text) in &mut package.scripts {
                *text = text
                    .replace("[ \"$1\" -eq 1 ]", "true")
                    .replace("deb-systemd-helper --quiet was-enabled", "true");
            }
        });
        assert!(!second.is_empty(), "{format:?}");
    });
}

#[test]
#[ignore = "needs rpm, dpkg and the static programs; run by cargo xtask test"]
fn kpatch_goes_after_the_patches_that_need_it() {
    each(|format| {
        let machine = Machine { root: Root::new(RELEASE), format, dir: tempfile::tempdir().unwrap() };
        let patch = packages(format, RELEASE, (1, 2)).remove(0);
        let files = [patch.clone(), loader(format, "1")].map(|package| write(machine.dir.path(), &package));
        let files = files.each_ref().map(|file| file.to_str().unwrap());
        let names = ["kpatch", &patch.name];
        match format {
            Format::Rpm => run(machine.root.rpm(&["-U", files[0], files[1]])),
            Format::Deb => run(machine.root.dpkg(&["--install", files[0], files[1]])),
        };
        assert_eq!(machine.root.store(RELEASE), [ko(OLD)], "kpatch is there before the patch");
        match format {
            Format::Rpm => run(machine.root.rpm(&["-e", names[0], names[1]])),
            Format::Deb => run(machine.root.dpkg(&["--remove", names[0], names[1]])),
        };
        assert!(machine.root.store(RELEASE).is_empty(), "{format:?}");
        assert!(!machine.root.path("usr/sbin/kpatch").exists());
    });
}

#[test]
#[ignore = "needs rpm and dpkg; run by cargo xtask test"]
fn package_managers_read_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for kernel in
        [RELEASE, "5.14.0-362.8.1.el9_3.x86_64", "6.1.0-49-cloud-amd64", "6.12.117+", "6.12.0~rc3-amd64"]
    {
        for package in packages(Format::Rpm, kernel, (1, 1)) {
            let file = write(dir.path(), &package);
            let checked = run(tool("rpm").arg("-Kv").arg(&file)).stdout_text();
            assert!(checked.contains("Payload SHA256 digest: OK"), "{checked}");
            let nevra = run(tool("rpm").args(["-qp", "--qf", "%{nevra}"]).arg(&file)).stdout_text();
            assert_eq!(format!("{nevra}.rpm"), package.file_name());
        }
        for package in packages(Format::Deb, kernel, (1, 1)) {
            let file = write(dir.path(), &package);
            let shown = run(tool("dpkg-deb").args(["--field"]).arg(&file)).stdout_text();
            assert!(shown.contains("\nVersion: 1-1\n"), "{shown}");
            let content = run(tool("dpkg-deb").args(["--contents"]).arg(&file)).stdout_text();
            assert!(
                content.lines().all(|line| line.contains(" root/root ") && line.contains("2000-01-01")),
                "{content}"
            );
        }
    }
    let file = support::package_file(dir.path(), Format::Rpm, RELEASE, (1, 1));
    let provided = run(tool("rpm").args(["-qp", "--provides"]).arg(&file)).stdout_text();
    assert!(provided.contains(&format!("kpatch-patch = {RELEASE}\n")), "{provided}");
    let listed = run(tool("rpm").args(["-qplv"]).arg(&file)).stdout_text();
    assert!(listed.contains("-rwxr-xr-x    1 root     root"), "{listed}");
    // A damaged package is seen.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 20);
    std::fs::write(&file, bytes).unwrap();
    fails(tool("rpm").arg("-K").arg(&file));
}
