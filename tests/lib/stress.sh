# SPDX-License-Identifier: GPL-2.0-or-later
# What stress cases share: load that goes on all the time, and memory before and after.
. /lib/case.sh
. /lib/livepatch.sh

# load_begins, load_ends: two threads read /proc/version from files that stay open, one calls getpid(), one starts programs. They
# let the case go first, which would wait for them most of the time else.
load_begins() {
	rm -f /tmp/stop
	workload --nice 10 --rest 2000 2 /tmp/stop count /proc/version "stress: read" >/tmp/reads 2>&1 &
	_reads=$!
	workload --nice 10 --rest 2000 1 /tmp/stop getpid >/tmp/calls 2>&1 &
	_calls=$!
	workload --nice 10 --rest 2000 1 /tmp/stop run /bin/true >/tmp/runs 2>&1 &
	_runs=$!
	# A file that is opened once the patch counts may go on with the number of one that was closed.
	check "the load's files are open" wait_until 30 eval 'equals 2 "$(ls -l /proc/$_reads/fd | grep -c /proc/version)"'
}
load_ends() {
	touch /tmp/stop
	wait $_reads
	_ends=$?
	wait $_calls && wait $_runs && [ $_ends = 0 ]
	_ends=$?
	keep reads /tmp/reads
	keep calls /tmp/calls
	keep runs /tmp/runs
	cat /tmp/reads /tmp/calls /tmp/runs
	return $_ends
}
# load_saw: nothing was wrong in what the load saw, and it was at work.
load_saw() {
	check "the load ends" load_ends
	check "no shadow variable was lost" lacks LOST "$EVIDENCE/reads"
	check "shadow variables were counted up" contains "the next number" "$EVIDENCE/reads"
	check "system calls went on" contains right "$EVIDENCE/calls"
	check "no system call went wrong" lacks wrong "$EVIDENCE/calls"
	check "programs started and ended all the time" contains "exit status: 0" "$EVIDENCE/runs"
}

# memory <name>: what the kernel holds, in kilobytes: slabs that cannot be reclaimed, and module memory.
memory() {
	{
		sed -n 's/^SUnreclaim: *\([0-9]*\) kB/slab \1/p' /proc/meminfo
		sed -n 's/^VmallocUsed: *\([0-9]*\) kB/vmalloc \1/p' /proc/meminfo
	} >$EVIDENCE/memory-$1
	cat $EVIDENCE/memory-$1
}
of() {
	sed -n "s/^$2 //p" $EVIDENCE/memory-$1
}
# steady <name>: after all cycles there is not more of it than before them, but for a margin of 2 KiB a cycle: one lost
# module takes more, and so does one lost allocation a cycle of a page.
steady() {
	_before=$(of before $1)
	_after=$(of after $1)
	[ $_after -le $((_before + 512 + 2 * CYCLES)) ] && return
	echo "$1: $_before kB before, $_after kB after"
	return 1
}
# Memory that is freed after a grace period is there for some moments.
memory_is_steady() {
	check "slabs are as before" wait_until 30 eval 'memory after >/dev/null; steady slab'
	check "module memory is as before" wait_until 30 eval 'memory after >/dev/null; steady vmalloc'
	memory after
}

# repeated <command>: runs it with 1, 2 and so on up to CYCLES; how long that took goes to the evidence.
repeated() {
	read -r _started _rest </proc/uptime
	_done=0
	while [ $_done -lt $CYCLES ] && "$1" $((_done + 1)) >/tmp/cycle 2>&1; do
		_done=$((_done + 1))
	done
	read -r _ended _rest </proc/uptime
	echo "$_done cycles from $_started s to $_ended s of the guest's clock" | tee $EVIDENCE/duration
	cat /tmp/cycle
	equals $CYCLES $_done
}

mkdir -p "$EVIDENCE"
