# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_binfmt")
target=$KO_module_binfmt_misc
mkdir -p /tmp/binfmt
status=/tmp/binfmt/status
patched="patched from Rust: binfmt_misc"

arrives() {
	insmod "$target" && mount -t binfmt_misc none /tmp/binfmt
}

leaves() {
	umount /tmp/binfmt && rmmod binfmt_misc
}

check "the module arrives first" arrives || exit
check "before: the module answers itself" reads enabled $status
check "kpatch load succeeds" kpatch load "$KO_binfmt" || exit
phase patched
check "the replacement answers, and reads the module's own variable" reads "$patched" $status
check "calls go through the livepatch trampoline" redirected bm_status_read
check "sysfs says that the object is patched" attribute "$module" binfmt_misc/patched 1

check "the module leaves while it is patched" leaves
check "sysfs says that the object is not patched" attribute "$module" binfmt_misc/patched 0
case $RELEASE in
6.1.*)
	# Until 6.3 the kernel does not clear a patch's relocations when the module that they are for leaves, and then takes
	# them for damage: the module can come back only when the patch has gone.
	kernel_log_mark
	check "the module cannot come again while it is patched" fails insmod "$target"
	kernel_log_since >/tmp/log
	check "because the kernel finds its own old relocations" contains "Skipping invalid relocation target" /tmp/log
	check "kpatch unload succeeds" kpatch unload "$module"
	check "the module comes again" arrives
	;;
*)
	check "the module comes again, after the patch" arrives
	check "the replacement answers at once" reads "$patched" $status
	check "kpatch unload succeeds" kpatch unload "$module"
	;;
esac
phase reverted
check "the module answers itself again" reads enabled $status
check "the module leaves" leaves

check "the patch is loaded while the module is not there" kpatch load "$KO_binfmt"
check "the module comes for the first time" arrives
check "the replacement answers" reads "$patched" $status
check "kpatch unload succeeds again" kpatch unload "$module"
check "the module answers itself" reads enabled $status
check "the module leaves at last" leaves
check "nothing of the patch is left" unloaded "$module"
