# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

old=$(module_of "$KO_proc_file")
new=$(module_of "$KO_cmdline")
file=/proc/klp_file

# used_up: nobody can read the file any more.
used_up() {
	absent $file && fails cat $file
}

keep original /proc/version
phase disabled
check "the patch is loaded" kpatch load "$KO_proc_file" || exit
check "its file is there" reads "answered by the module" $file
check "the patch is unloaded" kpatch unload "$old"
check "the file is gone with the module" used_up
check "the original answers" same "$EVIDENCE/original" /proc/version

phase replaced
check "the patch is loaded again" insmod "$KO_proc_file"
check "its transition ends" wait_until 30 settled "$old"
check "its file is there again" reads "answered by the module" $file
# insmod alone: kpatch would remove the replaced module at once.
check "another patch replaces it" insmod "$KO_cmdline"
check "the transition ends" wait_until 30 settled "$new"
check "nothing is left of the replaced patch but its module" wait_until 30 absent "$PATCHES/$old"
check "the file works while the module is there" reads "answered by the module" $file
check "the module is removed" rmmod "$old"
check "the file is gone with it" used_up
check "the other patch still answers" reads "patched from Rust" /proc/cmdline
check "the other patch is unloaded" kpatch unload "$new"
check "the original answers again" same "$EVIDENCE/original" /proc/version
