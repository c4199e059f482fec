# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

tracing=/sys/kernel/tracing
trace_on() {
	write cmdline_proc_show $tracing/set_ftrace_filter && write function $tracing/current_tracer && write 1 $tracing/tracing_on
}
trace_off() {
	write nop $tracing/current_tracer && write "" $tracing/set_ftrace_filter
}
# traced: the trace, which was empty before, has a call of the function.
traced() {
	write "" $tracing/trace
	cat /proc/cmdline >/dev/null
	grep -qw cmdline_proc_show $tracing/trace
}
check "the function is traced" trace_on
check "a call is in the trace" traced
load_lp "$KO_selftest_livepatch"
check "the replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "a call is still in the trace" traced
disable_lp "$KO_selftest_livepatch"
unload_lp "$KO_selftest_livepatch"
check "a call is in the trace without the patch" traced
check "tracing ends" trace_off
