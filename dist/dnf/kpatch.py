# SPDX-License-Identifier: GPL-2.0-or-later
"""dnf plug-in: the live patch package of every kernel.

Which packages a machine should have is decided by `kpatch follow --json`; this file asks it and tells dnf.
"""

import configparser
import json
import os
import subprocess

import dnf
import dnf.cli
import dnf.exceptions
import dnf.selector
import dnf.transaction

NAME = "kpatch"
# Capability of every package that holds a kernel image; its version is the kernel's release (`uname -r`).
UNAME = "kernel-uname-r"
PREFIX = "kpatch-patch-"
# Packages of one kernel build that are useless without its image.
KERNEL_PACKAGES = ("kernel", "kernel-core", "kernel-modules*", "kernel-*-core", "kernel-*-modules*")


def config_file(conf):
    """Path of the configuration; the first directory's file where none exists."""
    files = [os.path.join(path, NAME + ".conf") for path in conf.pluginconfpath]
    return next((file for file in files if os.path.isfile(file)), files[0])


def read_options(conf):
    """Options of the section [main]; an option that is not there is off."""
    path = config_file(conf)
    parser = configparser.ConfigParser()
    try:
        parser.read(path)
        return {key: parser.getboolean("main", key, fallback=False) for key in ("autoupdate", "autofilter")}
    except (OSError, ValueError, configparser.Error) as error:
        raise dnf.exceptions.Error("%s could not be read: %s" % (path, error))


def set_option(conf, key, value):
    """Writes one option of the section [main]; the file is replaced at once."""
    path = config_file(conf)
    parser = configparser.ConfigParser()
    try:
        parser.read(path)
        if not parser.has_section("main"):
            parser.add_section("main")
        parser.set("main", key, str(value))
        with open(path + ".new", "w", encoding="utf-8") as stream:
            parser.write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path + ".new", path)
    except (OSError, configparser.Error) as error:
        raise dnf.exceptions.Error("%s could not be changed: %s" % (path, error))


def releases_of(packages):
    """Kernel releases of packages, by their capability."""
    found = {}
    for package in packages:
        for provide in package.provides:
            words = str(provide).split(" = ")
            if len(words) == 2 and words[0] == UNAME:
                found[words[1]] = package
    return found


def follow(base, releases):
    """Decisions of `kpatch follow` about these kernel releases, with what the repositories offer."""
    command = [NAME, "follow", "--json", "--packages", "rpm"]
    path = config_file(base.conf)
    if os.path.isfile(path):
        command += ["--config", path]
    offered = base.sack.query().filter(name__glob=PREFIX + "*")
    for name in sorted({package.name for package in offered}):
        command += ["--offered", name]
    if not releases:
        return {"autoupdate": False, "autofilter": False, "kernels": []}
    for release in releases:
        command += ["--kernel", release]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise dnf.exceptions.Error("kpatch could not be run: %s" % error)
    if done.returncode != 0:
        raise dnf.exceptions.Error(done.stderr.decode("utf-8", "replace").strip())
    return json.loads(done.stdout.decode("utf-8"))


def want(base, decision):
    """Asks dnf for the newest version of a live patch package. A package that no repository offers is no error."""
    query = base.sack.query().filter(name=decision["package"])
    if not query or query.installed():
        return False
    selector = dnf.selector.Selector(base.sack)
    selector.set(pkg=query.latest())
    base.goal.install(select=selector, optional=True)
    return True


def installed_kernels(base):
    return releases_of(base.sack.query().installed().filter(provides=UNAME))


class KpatchCommand(dnf.cli.Command):
    """`dnf kpatch <action>`"""

    aliases = (NAME,)
    summary = "live patch packages for every kernel"
    ACTIONS = {
        "auto": "install the live patch packages of installed kernels, now and with every future kernel",
        "manual": "install no live patch package automatically",
        "install": "install the live patch packages of installed kernels, now",
        "status": "show the configuration and each installed kernel's package",
        "auto-filter": "hide kernels that have no live patch package",
        "no-filter": "show all kernels",
    }

    @classmethod
    def set_argparser(cls, parser):
        text = "; ".join("%s: %s" % item for item in cls.ACTIONS.items())
        parser.add_argument("action", metavar="|".join(cls.ACTIONS), choices=list(cls.ACTIONS), help=text)

    def configure(self):
        demands = self.cli.demands
        action = self.opts.action
        demands.root_user = action != "status"
        demands.resolving = action in ("auto", "install")
        demands.sack_activation = action in ("auto", "install", "status")
        demands.available_repos = demands.sack_activation

    def run(self):
        action = self.opts.action
        if action in ("auto", "manual"):
            set_option(self.base.conf, "autoupdate", action == "auto")
        elif action in ("auto-filter", "no-filter"):
            set_option(self.base.conf, "autofilter", action == "auto-filter")
        if action in ("auto", "install"):
            for decision in follow(self.base, installed_kernels(self.base))["kernels"]:
                want(self.base, decision)
        elif action == "status":
            self.status()

    def status(self):
        answer = follow(self.base, installed_kernels(self.base))
        print("Kpatch update setting: %s" % ("auto" if answer["autoupdate"] else "manual"))
        print("Kpatch filter setting: %s" % ("auto-filter" if answer["autofilter"] else "no-filter"))
        for decision in answer["kernels"]:
            installed = self.base.sack.query().installed().filter(name=decision["package"])
            state = "installed" if installed else "offered" if decision["offered"] else "not offered"
            print("%s: %s (%s)" % (decision["kernel"], decision["package"], state))


class KpatchPlugin(dnf.Plugin):
    """Adds live patch packages to transactions that install a kernel, and hides kernels without one."""

    name = NAME

    def __init__(self, base, cli):
        super().__init__(base, cli)
        self.cli = cli
        self.resolving = False
        self.options = {}
        if cli is not None:
            cli.register_command(KpatchCommand)

    def config(self):
        self.options = read_options(self.base.conf)

    def sack(self):
        if not self.options.get("autofilter"):
            return
        kernels = releases_of(self.base.sack.query().available().filter(provides=UNAME))
        for decision in follow(self.base, kernels)["kernels"]:
            if decision["filtered"]:
                image = kernels[decision["kernel"]]
                same = self.base.sack.query().available().filter(
                    name__glob=list(KERNEL_PACKAGES), evr=image.evr, arch=image.arch)
                self.base.sack.add_excludes(same)

    def resolved(self):
        # base.resolve() calls this function again.
        if not self.options.get("autoupdate") or self.resolving:
            return
        forward = [item.pkg for item in self.base.transaction
                   if item.action in dnf.transaction.FORWARD_ACTIONS and item.pkg is not None]
        named = {package.name for package in forward if package.name.startswith(PREFIX)}
        decisions = follow(self.base, releases_of(forward))["kernels"]
        missing = [one for one in decisions if one["wanted"] and one["package"] not in named]
        if any([want(self.base, decision) for decision in missing]):
            self.resolving = True
            self.base.resolve(self.cli.demands.allow_erasing if self.cli else False)
            self.resolving = False
