# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel's SELinux, permissive, first with a policy that knows the type of modules, then with one that does not.
. /lib/case.sh

label() {
	stat -c %C "$1"
}
# with_policy <source>: compiles a policy and gives it to the kernel.
with_policy() {
	checkpolicy -M -U allow -o /tmp/policy "$1" && cat /tmp/policy >/sys/fs/selinux/load
}

patch=$(basename "$KO_demo" .ko)
store=/var/lib/kpatch/$RELEASE
mountpoint -q /sys/fs/selinux || mount -t selinuxfs none /sys/fs/selinux
check "the kernel has SELinux on" contains selinux /sys/kernel/security/lsm || exit
check "it takes the policy" with_policy /case/policy.conf || exit
check "install says nothing of labels" equals "" "$(kpatch install "$KO_demo" 2>&1 >/dev/null | grep -i label)"
check "the module has the type of modules" equals system_u:object_r:modules_object_t:s0 "$(label "$store/$patch.ko")"
check "the file that it came from has another" equals system_u:system_r:everything_t:s0 "$(label "$KO_demo")"
check "it can be loaded" kpatch load "$patch"
check "it acts" reads "patched from Rust" /proc/cmdline
check "it is unloaded" kpatch unload "$patch"
check "rollback's place keeps the label" kpatch uninstall --keep "$patch"
check "there" equals system_u:object_r:modules_object_t:s0 "$(label "/var/lib/kpatch/.previous-$RELEASE:$patch.ko")"

phase unknown
grep -v "modules_object_t" /case/policy.conf >/tmp/policy.conf
echo "role object_r types everything_t;" >/tmp/role
sed -i '/^role system_r types/r /tmp/role' /tmp/policy.conf
check "the kernel takes a policy without that type" with_policy /tmp/policy.conf || exit
# Who has this capability may set labels that the policy does not know.
setpriv --bounding-set=-mac_admin kpatch install "$KO_demo" >/tmp/out 2>/tmp/err
check "install succeeds" equals 0 $?
check "and says what could not be done" contains "the SELinux label modules_object_t could not be set: Invalid argument" /tmp/err
check "the module is there" cmp "$KO_demo" "$store/$patch.ko"
