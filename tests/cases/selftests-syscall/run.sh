# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

rm -f /tmp/stop
# The script goes first: on one busy processor the load would keep it waiting.
workload --nice 19 32 /tmp/stop getpid >/tmp/seen &
load=$!
# threads: all of them are there.
threads() {
	equals 33 "$(ls /proc/$load/task | wc -l)"
}
check "32 threads call getpid" wait_until 30 threads
for round in 1 2 3; do
	load_lp "$KO_selftest_syscall"
	check "each of the 32 threads comes through the replacement" wait_until 60 reads 32 /proc/klp_getpid
	disable_lp "$KO_selftest_syscall"
	unload_lp "$KO_selftest_syscall"
	check "the replacement's file is gone" absent /proc/klp_getpid
done
touch /tmp/stop
wait $load
keep seen /tmp/seen
check "each answer was the right one" lacks wrong /tmp/seen
check "there were answers" contains right /tmp/seen
