# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

lower=$(module_of "$KO_selftest_livepatch")
upper=$(module_of "$KO_stacked")

# on_top <module>: list names its code as what the function runs; kernels say so from 6.14 on.
on_top() {
	listed "$1" enabled || return
	if [ ! -e "$PATCHES/$1/stack_order" ]; then
		lacks "Currently livepatched functions" /tmp/list
		return
	fi
	equals "$1 vmlinux cmdline_proc_show,1" "$(sed -n '/functions:$/,/^$/p' /tmp/list | awk '/cmdline_proc_show/ { print $1, $2, $3 }')"
}

keep original /proc/cmdline
check "the lower patch loads" kpatch load "$KO_selftest_livepatch" || exit
check "it answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "list says so" on_top "$lower"
check "the upper patch loads" kpatch load "$KO_stacked" || exit
check "it answers" reads "patched from Rust" /proc/cmdline
check "list says so" on_top "$upper"
check "the lower patch is still there" listed "$lower" enabled

check "kpatch unload takes the lower one" kpatch unload "$lower"
check "the upper one still answers" reads "patched from Rust" /proc/cmdline
check "list says so" on_top "$upper"
check "the one that was below is loaded again" kpatch load "$KO_selftest_livepatch"
check "now it answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "list says so" on_top "$lower"
check "kpatch unload takes it from the top" kpatch unload "$lower"
check "the other one answers again" reads "patched from Rust" /proc/cmdline
check "list says so" on_top "$upper"
check "kpatch unload takes the last one" kpatch unload "$upper"
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/cmdline
check "nothing of the first one is left" unloaded "$lower"
check "nothing of the second one is left" unloaded "$upper"
