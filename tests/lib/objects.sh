# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel and two of its modules in one live patch, $file: one module is there before, one comes after, both go and come again.

module=$(module_of "$file")
mkdir -p /tmp/binfmt
status=/tmp/binfmt/status
offset=/sys/block/loop0/loop/offset
head -c 8192 /dev/zero >/tmp/disk

binfmt_arrives() {
	insmod "$KO_module_binfmt_misc" && mount -t binfmt_misc none /tmp/binfmt
}
binfmt_leaves() {
	umount /tmp/binfmt && rmmod binfmt_misc
}
loop_arrives() {
	insmod "$KO_module_loop" && losetup -o 512 /dev/loop0 /tmp/disk
}
loop_leaves() {
	losetup -d /dev/loop0 && rmmod loop
}
patched() {
	attribute "$module" "$1/patched" "$2"
}

keep version /proc/version
check "binfmt_misc arrives before the patch" binfmt_arrives || exit
check "kpatch load succeeds" kpatch load "$file" || exit
check "the kernel's function is replaced" reads "patched: vmlinux" /proc/version
check "that of the module which was there is replaced" reads "patched: binfmt_misc" $status
check "sysfs says that loop is not patched" patched loop 0
check "loop arrives after the patch" loop_arrives
check "its function is replaced" reads "patched: loop" $offset
check "sysfs says so" patched loop 1

check "loop leaves" loop_leaves
check "the others stay replaced" reads "patched: binfmt_misc" $status
check "sysfs says that only loop has gone" patched loop 0
check "sysfs says that binfmt_misc is there" patched binfmt_misc 1
check "loop comes again" loop_arrives
check "its function is replaced again" reads "patched: loop" $offset
check "binfmt_misc leaves" binfmt_leaves
check "loop stays replaced" reads "patched: loop" $offset
check "binfmt_misc comes again" binfmt_arrives
check "its function is replaced again" reads "patched: binfmt_misc" $status

check "kpatch unload succeeds" kpatch unload "$module"
check "the kernel is its own again, byte for byte" same "$EVIDENCE/version" /proc/version
check "binfmt_misc is its own again" reads enabled $status
check "loop is its own again" reads 512 $offset
check "loop leaves at last" loop_leaves
check "binfmt_misc leaves at last" binfmt_leaves
check "nothing of the patch is left" unloaded "$module"
