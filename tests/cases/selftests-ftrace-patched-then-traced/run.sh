# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

tracing=/sys/kernel/tracing
replacement=livepatch_cmdline_proc_show

trace_on() {
	write $replacement $tracing/set_ftrace_filter && write function $tracing/current_tracer && write 1 $tracing/tracing_on
}
trace_off() {
	write nop $tracing/current_tracer && write "" $tracing/set_ftrace_filter
}
# traced: the trace, which was empty before, has a call of the replacement.
traced() {
	write "" $tracing/trace
	cat /proc/cmdline >/dev/null
	grep -qw $replacement $tracing/trace && return
	cat $tracing/trace
	return 1
}
# known: ftrace lists the replacement, as a function of the module.
known() {
	grep -qx "$replacement \[kpatch_selftest_livepatch\]" $tracing/available_filter_functions
}
load_lp "$KO_selftest_livepatch"
check "ftrace knows the replacement" known
check "the replacement is traced" trace_on
check "the replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "a call of the replacement is in the trace" traced
check "tracing ends" trace_off
check "the replacement answers without it" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "the replacement is traced again" trace_on
disable_lp "$KO_selftest_livepatch"
unload_lp "$KO_selftest_livepatch"
check "ftrace does not know it any more" fails known
check "tracing ends" trace_off
