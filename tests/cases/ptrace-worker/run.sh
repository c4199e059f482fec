# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_ptrace_worker")

# masks NAME: what the program sees, in /tmp/NAME.
masks() {
	./worker >/tmp/"$1" 2>&1
	keep "$1" /tmp/"$1"
}

masks before
check "the fault is there: the worker's mask is set" contains "worker has the mask: yes" /tmp/before
check "kpatch load succeeds" kpatch load "$KO_ptrace_worker" || exit
masks patched
check "the worker's mask cannot be set" contains "worker, set: EPERM" /tmp/patched
check "it is as it was" contains "worker has the mask: no" /tmp/patched
check "it can be read" contains "worker, get: done" /tmp/patched
grep "^thread" /tmp/before >/tmp/thread.before
grep "^thread" /tmp/patched >/tmp/thread.patched
check "another thread's mask is set" contains "thread has the mask: yes" /tmp/patched
check "its nine answers are the original's" same /tmp/thread.before /tmp/thread.patched
check "kpatch unload succeeds" kpatch unload "$module"
masks after
check "the original is back" same /tmp/before /tmp/after
check "nothing of the patch is left" unloaded "$module"
