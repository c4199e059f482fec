# SPDX-License-Identifier: GPL-2.0-or-later
# Every situation but transitions.
. /lib/case.sh
. /case/lib.sh

foreign=$(basename "$KO_cmdline" .ko)

phase list
equal "list of nothing" bare list
equal "list of what is installed, for all kernels" installed list
equal "list of what is loaded" loaded list
equal "list of what is disabled" disabled list

phase install
equal "install" bare install $file
differs "install beside others leaves the service as it is" installed install "$KO_cmdline"
check "all else is the same" same /tmp/a/out /tmp/b/out
check "ours has said nothing of it" reads_nothing /tmp/b/err
equal "install for a named kernel" bare install -k $RELEASE $file
equal "install for a named kernel, long" bare install --kernel-version=$RELEASE $file
equal "install without a file" bare install
equal "install of what is not there" bare install /srv/nothing.ko
equal "install of what is no .ko" bare install /srv/text.o
equal "install for another kernel" bare install /srv/foreign.ko
equal "install for a named other kernel" bare install -k 6.1.0-1-amd64 $file
differs "install of what is installed is a success" installed install $file
check "ours says so" reads "$file is already installed" /tmp/b/out
check "the original fails" reads "kpatch: $file is already installed" /tmp/a/err

phase uninstall
equal "uninstall" installed uninstall $name
equal "uninstall by the file's name" installed uninstall kpatch-demo-1-1.ko
equal "uninstall for another kernel" installed uninstall -k 6.1.0-1-amd64 other_name
equal "uninstall while loaded" loaded uninstall $name
equal "uninstall of a path" installed uninstall /srv/$name
equal "uninstall without a name" installed uninstall
equal "uninstall of what is not installed" installed uninstall nothing

phase load
equal "load" bare load $file
equal "load of what is loaded" loaded load $file
equal "load by name" installed load $name
equal "load of what was disabled" disabled load $file
equal "load of what is not there" bare load /srv/nothing.ko
equal "load of a name that is not installed" bare load nothing
equal "load --all" installed load --all
equal "load --all of nothing" bare load --all

differs "a module for another release is refused, which the kernel would take" bare load /srv/foreign.ko
check "the original has loaded it" reads "$foreign" /tmp/a/patches
check "ours has not" reads_nothing /tmp/b/patches
check "ours says why" contains "invalid module version 9.99.999+deb12-amd64 for kernel $RELEASE" /tmp/b/err
damaged() {
	installed
	echo text >$STORE/$RELEASE/a-damaged.ko
}
differs "load --all goes on after a failure" damaged load --all
check "both fail" both_fail
check "the original has loaded nothing" reads_nothing /tmp/a/patches
check "ours has loaded the good one" reads "$patch" /tmp/b/patches

phase unload
equal "unload" loaded unload "$patch"
equal "unload of what is disabled" disabled unload "$patch"
equal "unload of what is not loaded" bare unload nothing
equal "unload --all" loaded unload --all
equal "unload --all of nothing" bare unload --all

phase others
equal "signal without a transition" bare signal
differs "info shows the manifest for people" installed info $name
grep -v '^ferrograft:' /tmp/a/out >/tmp/a/info
head -n "$(wc -l </tmp/a/info)" /tmp/b/out >/tmp/b/info
check "all else of info is the same" same /tmp/a/info /tmp/b/info
differs "info of a file, too" bare info $file
grep -v '^ferrograft:' /tmp/a/out >/tmp/a/info
head -n "$(wc -l </tmp/a/info)" /tmp/b/out >/tmp/b/info
check "all else of it is the same" same /tmp/a/info /tmp/b/info
equal "info of what is not there" bare info nothing
differs "version" bare version
check "the original is the one that is meant" reads 0.9.10 /tmp/a/out
check "ours is the bare version" grep -qx '[0-9.]*' /tmp/b/out
differs "help ends with 0" bare help
check "ours does" reads 0 /tmp/b/code
check "both on standard error" grep -q '^usage: kpatch <command> \[<args>\]$' /tmp/a/err /tmp/b/err
for verb in load unload info; do
	differs "$verb without a module prints our usage" bare $verb
	check "both fail" both_fail
	check "both on standard error" grep -q '^usage: kpatch <command> \[<args>\]$' /tmp/a/err /tmp/b/err
done
differs "usage has our verbs" bare nonsense
check "an unknown verb is named in the same words" same /tmp/a/out /tmp/b/out
check "both fail" both_fail
bare
