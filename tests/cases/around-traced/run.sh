# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

FUNCTION=cmdline_proc_show
lp=$(module_of "$KO_around")

# runs <pid>: how often the BPF program of a workload has run.
runs() {
	sed -n 's/^run_cnt:[[:space:]]*//p' /proc/$1/fdinfo/*
}
# attached <pid>: its link is settled.
attached() {
	cat /proc/$1/fdinfo/* 2>/dev/null | grep -q "^link_id:.*[1-9]" && equals 1 "$(runs $1 | wc -l)"
}
# bpf_begins, bpf_ends: programs at exit and entry of the function. In the other order 6.1's ftrace gives up, whatever the
# replacement does (docs/kpatch.md).
bpf_begins() {
	rm -f /tmp/stop
	workload 1 /tmp/stop fexit $FUNCTION >/tmp/bpf 2>&1 &
	fexit=$!
	wait_until 30 attached $fexit || { cat /tmp/bpf; return 1; }
	workload 1 /tmp/stop fentry $FUNCTION >/tmp/bpf 2>&1 &
	fentry=$!
	wait_until 30 attached $fentry || { cat /tmp/bpf; return 1; }
}
bpf_ends() {
	touch /tmp/stop
	wait $fentry && wait $fexit
}
# probes_begin, probes_end: kprobes at the entry, at the return, and in the code behind the site of ftrace.
probes_begin() {
	echo "p:entry $FUNCTION" >$TRACING/kprobe_events && echo "r:return $FUNCTION" >>$TRACING/kprobe_events || return
	for _inside in 9 5; do
		echo "p:inside $FUNCTION+$_inside" >>$TRACING/kprobe_events 2>/dev/null && break
	done
	echo 1 >$TRACING/events/kprobes/enable
}
probes_end() {
	echo 0 >$TRACING/events/kprobes/enable && echo >$TRACING/kprobe_events
}
# graph_begins, graph_ends: the graph of the function, of those of seq_file, and of the patch, which may come later. All functions
# of the kernel would take most of the case's time.
graph_begins() {
	echo $FUNCTION "seq_*" "__seq_*" "livepatch_*:mod:$lp" >$TRACING/set_ftrace_filter &&
		echo $FUNCTION >$TRACING/set_graph_function && echo function_graph >$TRACING/current_tracer
}
graph_ends() {
	echo nop >$TRACING/current_tracer && echo >$TRACING/set_graph_function && echo >$TRACING/set_ftrace_filter
}

# counted: what each has counted up to now.
counted() {
	echo "$(hits entry) $(hits return) $(hits inside) $(runs $fentry) $(runs $fexit)"
}
# one_more <answer command>: one read is answered so, and all count one call more.
one_more() {
	_counted=$(counted)
	echo >$TRACING/trace
	"$@" || return
	grep -v '^#' $TRACING/trace >/tmp/graph
	echo "$_counted" | awk '{ for (i = 1; i <= NF; i++) $i++; print }' >/tmp/expected
	counted >/tmp/counted
	same /tmp/expected /tmp/counted && equals 1 "$(grep -c " $FUNCTION() {" /tmp/graph)"
}
original() {
	same "$EVIDENCE/original" /proc/cmdline
}
around() {
	{ cat "$EVIDENCE/original"; echo "after the original"; } >/tmp/around
	same /tmp/around /proc/cmdline
}

# callees <file>: the functions of seq_file that a graph has.
callees() {
	grep -oE "(__)?seq_[a-z]+" "$1" | xargs
}

keep original /proc/cmdline
echo 1 >/proc/sys/kernel/bpf_stats_enabled
echo 0 >$TRACING/options/funcgraph-irqs

phase traced
check "probes are set" probes_begin || exit
check "BPF programs are attached" bpf_begins || exit
check "the graph tracer is on" graph_begins || exit
check "before: all of them see a call" one_more original
keep graph-before /tmp/graph
check "the patch is loaded under them" kpatch load "$KO_around" || exit
check "all of them see a call once, whose original answers" one_more around
keep graph-loaded /tmp/graph
check "the graph has the replacement" contains "livepatch_$FUNCTION [$lp]() {" /tmp/graph
check "the graph has what the original calls, and the replacement after it" equals "$(callees "$EVIDENCE/graph-before") seq_write" "$(callees /tmp/graph)"
check "the patch is unloaded under them" kpatch unload "$lp"
check "all of them see a call of the original" one_more original
check "the graph is as before" equals "$(callees "$EVIDENCE/graph-before")" "$(callees /tmp/graph)"
check "probes end" probes_end
check "the BPF programs end" bpf_ends
check "the graph tracer is off" graph_ends

phase patched
check "the patch is loaded" kpatch load "$KO_around" || exit
check "probes are set" probes_begin || exit
check "BPF programs are attached" bpf_begins || exit
check "the graph tracer is on" graph_begins || exit
check "all of them see a call once, whose original answers" one_more around
inside=$(hits inside)
check "a version without the original replaces it" kpatch load "$KO_cmdline"
check "it answers" reads "patched from Rust" /proc/cmdline
check "nothing of the original runs" equals "$inside" "$(hits inside)"
check "the replaced module is removed" rmmod "$lp"
check "it is unloaded" kpatch unload "$(module_of "$KO_cmdline")"
check "all of them see a call of the original" one_more original
check "probes end" probes_end
check "the BPF programs end" bpf_ends
check "the graph tracer is off" graph_ends
check "the original answers" original
