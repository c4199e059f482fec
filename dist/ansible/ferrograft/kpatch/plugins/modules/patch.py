#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Version of the live patch package of the running kernel."""

import glob
import json
import os

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: patch
short_description: Install a version of the live patch of the running kernel
description:
  - Installs, updates, downgrades or removes the live patch package of the running kernel with apt or dnf.
  - The kernel follows. A newer version is loaded by the package. For an older one the module runs C(kpatch load --allow-older),
    and C(kpatch unload) where the package is removed or holds no module.
  - Success says that the commands succeeded. Package managers also succeed when a newer patch could not be loaded;
    M(ferrograft.kpatch.status) tells.
author:
  - The authors of Ferrograft (@ferrograft)
options:
  version:
    description: Version-release of the package, V(latest), or V(absent).
    type: str
    default: latest
"""

EXAMPLES = r"""
- name: Update the live patch
  ferrograft.kpatch.patch:

- name: Go back
  ferrograft.kpatch.patch:
    version: 1-1
"""

RETURN = r"""
package:
  description: Name of the package.
  returned: success
  type: str
before:
  description: Version before; empty if the package was not installed.
  returned: success
  type: str
after:
  description: Version after; empty if the package is not installed.
  returned: success
  type: str
"""

PATCHES = "/sys/kernel/livepatch"


class Apt:
    packages = "deb"

    def __init__(self, machine):
        self.run = machine.run

    def installed(self, name):
        code, out = self.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name], (0, 1))
        state, _, version = out.strip().partition(" ")
        return version if code == 0 and state == "installed" else ""

    def set(self, name, version, installed):
        self.run(["apt-get", "update"])
        what = name if version == "latest" else "%s=%s" % (name, version)
        self.run(["apt-get", "-y", "--allow-downgrades", "-o", "DPkg::Lock::Timeout=600", "install", what])

    def remove(self, name):
        self.run(["apt-get", "-y", "-o", "DPkg::Lock::Timeout=600", "remove", name])


class Dnf:
    packages = "rpm"

    def __init__(self, machine, program):
        self.run = machine.run
        self.dnf = [program, "-y"]

    def installed(self, name):
        code, out = self.run(["rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", name], (0, 1))
        return out.strip() if code == 0 else ""

    def set(self, name, version, installed):
        if version == "latest":
            self.run(self.dnf + ["--refresh", "upgrade" if installed else "install", name])
            return
        self.run(self.dnf + ["--refresh", "install", "%s-%s" % (name, version)])
        if self.installed(name) != version:
            self.run(self.dnf + ["downgrade", "%s-%s" % (name, version)])

    def remove(self, name):
        self.run(self.dnf + ["remove", name])


class Machine:
    def __init__(self, module):
        self.module = module
        self.release = os.uname()[2]
        # What a failure returns, so that a rollout can go back.
        self.changed = False
        self.before = ""
        self.module.run_command_environ_update = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        if module.get_bin_path("apt-get") and not module.get_bin_path("yum"):
            self.manager = Apt(self)
        else:
            programs = [path for path in map(module.get_bin_path, ("dnf5", "dnf", "yum")) if path]
            if not programs:
                self.fail("this machine has neither apt-get nor dnf nor yum")
            self.manager = Dnf(self, programs[0])

    def run(self, words, codes=(0,)):
        """Exit code and standard output of a command, which must end with one of the codes."""
        code, out, err = self.module.run_command(words)
        if code not in codes:
            self.fail("%s ended with %d: %s" % (" ".join(words), code, err.strip() or out.strip()))
        return code, out

    def fail(self, message):
        self.module.fail_json(msg=message, changed=self.changed, before=self.before)

    def package(self):
        """Name of the live patch package of the running kernel."""
        words = ["kpatch", "follow", "--json", "--packages", self.manager.packages, "--kernel", self.release]
        return json.loads(self.run(words)[1])["kernels"][0]["package"]

    def files(self):
        """Modules of the package, by their names."""
        paths = glob.glob("/usr/lib/kpatch/%s/*.ko" % glob.escape(self.release))
        return dict((os.path.basename(path)[:-3], path) for path in paths)

    def enabled(self):
        names = []
        for path in glob.glob(PATCHES + "/*/enabled"):
            with open(path) as stream:
                if stream.read().strip() == "1":
                    names.append(path.split("/")[-2])
        return names

    def follow(self, before):
        """Lets the kernel have the module of the package, or none where the package has none. `before` are the modules that the
        package had."""
        now = self.files()
        for name, path in now.items():
            if name not in self.enabled():
                self.run(["kpatch", "load", "--allow-older", path])
        if not now:
            for name in set(before) & set(self.enabled()):
                self.run(["kpatch", "unload", name])


def main():
    module = AnsibleModule(argument_spec={"version": {"type": "str", "default": "latest"}})
    version = module.params["version"]
    machine = Machine(module)
    manager, name = machine.manager, machine.package()
    before, files, enabled = manager.installed(name), machine.files(), machine.enabled()
    machine.before, machine.changed = before, version != before
    if version == "absent":
        if before:
            manager.remove(name)
    elif version != before:
        manager.set(name, version, bool(before))
    after = manager.installed(name)
    if version not in ("latest", "absent") and after != version:
        machine.fail("%s is %s after the change, not %s" % (name, after or "not installed", version))
    if version != "latest":
        machine.follow(files)
    changed = before != after or sorted(enabled) != sorted(machine.enabled())
    module.exit_json(changed=changed, package=name, before=before, after=after)


if __name__ == "__main__":
    main()
