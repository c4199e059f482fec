# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

# masks NAME: what the program sees, in /tmp/NAME.
masks() {
	./worker >/tmp/"$1" 2>&1
	keep "$1" /tmp/"$1"
}

# form NAME FILE: the fix in one of its forms.
form() {
	module=$(module_of "$2")
	check "$1: kpatch load succeeds" kpatch load "$2" || return
	masks "$1-patched"
	check "$1: the worker's mask cannot be set" contains "worker, set: EPERM" "/tmp/$1-patched"
	check "$1: it is as it was" contains "worker has the mask: no" "/tmp/$1-patched"
	check "$1: it can be read" contains "worker, get: done" "/tmp/$1-patched"
	grep "^thread" "/tmp/$1-patched" >/tmp/thread.patched
	check "$1: another thread's mask is set" contains "thread has the mask: yes" "/tmp/$1-patched"
	check "$1: its nine answers are the original's" same /tmp/thread.before /tmp/thread.patched
	check "$1: kpatch unload succeeds" kpatch unload "$module"
	masks "$1-after"
	check "$1: the original is back" same /tmp/before "/tmp/$1-after"
	check "$1: nothing of the patch is left" unloaded "$module"
}

masks before
check "the fault is there: the worker's mask is set" contains "worker has the mask: yes" /tmp/before
grep "^thread" /tmp/before >/tmp/thread.before
form guard "$KO_ptrace_worker"
form diff "$KO_diff_ptrace"
