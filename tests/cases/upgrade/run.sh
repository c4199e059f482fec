# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

old=$(module_of "$KO_demo_v1")
new=$(module_of "$KO_demo_v2")

keep cmdline /proc/cmdline
keep version /proc/version
check "version 1 is loaded" kpatch load "$KO_demo_v1" || exit
check "version 1: the first fix acts" reads "patched from Rust" /proc/cmdline
check "version 1: the second function is the original" same "$EVIDENCE/version" /proc/version

start_reader "patched from Rust" /proc/cmdline
check "the reader reads before the replacement" read_on
check "version 2 is loaded over it" kpatch load "$KO_demo_v2"
check "the reader reads after the replacement" read_on
stop_reader
check "the reader never saw the original" absent /tmp/other

check "version 2: the first fix acts" reads "patched from Rust" /proc/cmdline
check "version 2: the second fix acts" contains "nr_processes: " /proc/version
check "version 2 is the only patch" equals "$new" "$(ls $PATCHES)"
check "version 2 is enabled" listed "$new" enabled
check "version 2 is unloaded" kpatch unload "$new"
check "the first original is back, byte for byte" same "$EVIDENCE/cmdline" /proc/cmdline
check "the second original is back, byte for byte" same "$EVIDENCE/version" /proc/version

# A replaced module has no patch any more and may stay in memory; it must be removable.
[ ! -d "/sys/module/$old" ] || check "version 1 can be removed" kpatch unload "$old"
check "nothing of version 1 is left" unloaded "$old"
check "nothing of version 2 is left" unloaded "$new"
