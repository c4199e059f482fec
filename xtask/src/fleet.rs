// SPDX-License-Identifier: GPL-2.0-or-later
//! Fleet case of `system-test`: the Ansible collection of `dist/ansible` on several guests at once.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use klp_base::cache::Key;
use klp_base::events::{Check, StageEnd, Verdict, stage};
use klp_base::process::{Cmd, Output};
use klp_vm::{FleetGuest, Supplies, System, SystemCase};

use crate::context::Context;
use crate::setup::Need;

/// Packages of the guests in addition to those of other cases.
pub(crate) const PACKAGES: [&str; 1] = ["openssh-server"];
/// Modules for the guests' network with Debian's kernels, in load order.
pub(crate) const MODULES: [&str; 3] = ["failover", "net_failover", "virtio_net"];
/// Ansible and what it needs, from PyPI.
const ANSIBLE: [&str; 9] = [
    "ansible-core==2.18.19",
    "Jinja2==3.1.6",
    "MarkupSafe==3.0.2",
    "PyYAML==6.0.2",
    "cffi==1.17.1",
    "cryptography==45.0.7",
    "packaging==25.0",
    "pycparser==2.22",
    "resolvelib==1.0.1",
];

/// Fleet of a case, with the key that its guests accept.
pub(crate) struct Fleet<'a> {
    context: &'a Context,
    scratch: tempfile::TempDir,
    ansible: PathBuf,
}

impl<'a> Fleet<'a> {
    /// Makes the key, and installs Ansible and the collection.
    pub(crate) fn new(context: &'a Context) -> Result<Self> {
        context.ensure(&[Need::Fleet])?;
        let scratch = tempfile::tempdir()?;
        let fleet = Self { context, scratch, ansible: ansible(context)? };
        Cmd::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(fleet.key()).run()?;
        let collection = context.project.root().join("dist/ansible/ferrograft/kpatch");
        let archives = fleet.scratch.path().join("archives");
        let build = fleet.tool("ansible-galaxy").args(["collection", "build", "--output-path"]);
        build.arg(&archives).arg(collection).run()?;
        let archive = klp_base::cache::walk(&archives)?.into_iter().next();
        let archive = archive.context("ansible-galaxy made no archive of the collection")?;
        let install = fleet.tool("ansible-galaxy").args(["collection", "install", "--offline", "-p"]);
        install.arg(fleet.collections()).arg(archive).run()?;
        Ok(fleet)
    }

    fn key(&self) -> PathBuf {
        self.scratch.path().join("key")
    }

    fn collections(&self) -> PathBuf {
        self.scratch.path().join("collections")
    }

    /// Files of every guest: the key that may log in.
    pub(crate) fn files(&self) -> Result<Vec<(String, u32, Vec<u8>)>> {
        let key = self.key().with_extension("pub");
        let keys = "/etc/ssh/fleet_keys";
        Ok(vec![
            (keys.to_owned(), 0o600, klp_base::files::read(&key)?),
            (
                "/etc/ssh/sshd_config.d/fleet.conf".to_owned(),
                0o644,
                format!("AuthorizedKeysFile {keys}\n").into_bytes(),
            ),
        ])
    }

    /// Program of Ansible. Its own files go to the scratch directory.
    fn tool(&self, name: &str) -> Cmd {
        let home = self.scratch.path();
        Cmd::new(self.ansible.join("bin").join(name))
            .cwd(home)
            .env("PYTHONPATH", &self.ansible)
            .env("HOME", home)
            .env("ANSIBLE_HOME", home.join("home"))
            .env("ANSIBLE_COLLECTIONS_PATH", self.collections())
            .env("ANSIBLE_HOST_KEY_CHECKING", "False")
            .env("ANSIBLE_PIPELINING", "True")
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_TIMEOUT", "120")
            .env("LC_ALL", "C.UTF-8")
    }

    fn inventory(&self, guests: &[FleetGuest]) -> Result<PathBuf> {
        let line = |guest: &FleetGuest| {
            format!(
                "{} ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={} \
                 ansible_ssh_common_args='-o UserKnownHostsFile=/dev/null' ansible_python_interpreter=/usr/bin/python3\n",
                guest.name,
                guest.port,
                self.key().display()
            )
        };
        let file = self.scratch.path().join("inventory");
        klp_base::files::write(&file, guests.iter().map(line).collect::<String>())?;
        Ok(file)
    }

    /// Runs a playbook of the collection with variables in JSON. Its output is evidence.
    fn playbook(&self, guests: &[FleetGuest], name: &str, variables: &str, log: &Path) -> Result<Output> {
        let shown = format!("{name} {variables}");
        stage(&self.context.terminal, "ansible", &shown, || {
            let inventory = self.inventory(guests)?;
            let cmd = self.tool("ansible-playbook").arg("-i").arg(inventory);
            let cmd = cmd.arg(format!("ferrograft.kpatch.{name}")).args(["-e", variables]).log(log);
            Ok((StageEnd::Done, cmd.output()?))
        })
    }

    /// Runs the steps of the case.
    pub(crate) fn run(&self, system: &System, case: &SystemCase, supplies: &Supplies) -> Result<Verdict> {
        let (started, terminal) = (Instant::now(), &self.context.terminal);
        let evidence = system.options().evidence.join(&system.guest().kernel.id).join(&case.name);
        if evidence.exists() {
            std::fs::remove_dir_all(&evidence)?;
        }
        std::fs::create_dir_all(&evidence)?;
        let start = |name: &String| system.start_guest(case, supplies, name, terminal);
        let mut guests = case.guests.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let mut checks = Vec::new();
        for step in &STEPS {
            checks.extend(self.step(step, &mut guests, &evidence)?);
            if checks.iter().any(|check| !check.ok) {
                // Later steps rely on this one.
                break;
            }
        }
        let verdict = system.report_fleet(case, &guests, checks, started, terminal);
        for guest in guests {
            guest.stop()?;
        }
        Ok(verdict)
    }

    fn step(&self, step: &Step, guests: &mut [FleetGuest], evidence: &Path) -> Result<Vec<Check>> {
        match step {
            Step::Script(script) => all(guests, script),
            Step::Playbook { claim, playbook, variables, says } => {
                let output = self.playbook(guests, playbook, variables, &evidence.join("ansible.log"))?;
                let said = output.stdout_text();
                // A run that fails must say all of this.
                let ok =
                    output.status.success() == says.is_empty() && says.iter().all(|text| said.contains(text));
                let detail = (!ok).then(|| format!("{said}{}", output.stderr_text()));
                Ok(vec![Check { name: (*claim).to_owned(), ok, detail }])
            }
        }
    }
}

/// Step of the case.
enum Step {
    /// Script of the case, on every guest.
    Script(&'static str),
    /// Playbook of the collection.
    Playbook {
        claim: &'static str,
        playbook: &'static str,
        /// Variables, in JSON.
        variables: &'static str,
        /// Texts of a run that fails; empty for a run that succeeds.
        says: &'static [&'static str],
    },
}

/// A rollout that succeeds, the way back by hand, and a rollout that fails on guest `b`.
const STEPS: [Step; 8] = [
    Step::Script("1"),
    Step::Playbook {
        claim: "the rollout of version 2 succeeds",
        playbook: "rollout",
        variables: r#"{"kpatch_become": false, "kpatch_serial": [1, 2]}"#,
        says: &[],
    },
    Step::Script("2"),
    Step::Playbook {
        claim: "all machines are given version 1",
        playbook: "version",
        variables: r#"{"kpatch_become": false, "kpatch_version": "1-1"}"#,
        says: &[],
    },
    Step::Script("3"),
    Step::Script("4"),
    Step::Playbook {
        claim: "the second rollout of version 2 fails and names machine b",
        playbook: "rollout",
        variables: r#"{"kpatch_become": false, "kpatch_serial": [1, 1, 1]}"#,
        says: &["b failed: outdated", "Every machine that was changed has its earlier version"],
    },
    Step::Script("5"),
];

/// Runs a script on every guest.
fn all(guests: &mut [FleetGuest], script: &str) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for guest in guests {
        checks.extend(guest.run(script)?);
    }
    Ok(checks)
}

/// Directory with Ansible in the cache, for the Python of this machine.
fn ansible(context: &Context) -> Result<PathBuf> {
    let python = Cmd::new("python3").arg("--version").read()?;
    let key = Key::new("ansible").with(&python).with(ANSIBLE.join(" "));
    let entry = context.cache.entry("tools", "ansible", &key, |dir| -> Result<()> {
        stage(&context.terminal, "ansible", "install", || {
            let pip =
                ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
            Cmd::new("python3").args(pip).arg(dir).args(ANSIBLE).run()?;
            Ok((StageEnd::Done, ()))
        })
    })?;
    Ok(entry)
}
