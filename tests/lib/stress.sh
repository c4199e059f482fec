# SPDX-License-Identifier: GPL-2.0-or-later
# CYCLES of load, enable, disable and unload, while functions are called, programs start and end, and modules come and go.
. /lib/case.sh
. /lib/livepatch.sh

lp=$(module_of "$KO_stress")

# cycle: one load, and everything back.
cycle() {
	insmod "$KO_stress" && wait_until 60 settled $lp &&
		contains "stress: shadow variable kept" /proc/version &&
		insmod "$KO_module_klp_callbacks_mod" && rmmod klp_callbacks_mod &&
		echo 0 >$PATCHES/$lp/enabled && wait_until 60 absent $PATCHES/$lp && rmmod $lp
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
# steady <name>: after all cycles there is not more of it than after the first of them, but for a margin of 2 KiB a cycle:
# one lost module takes more, and so does one lost allocation a cycle of a page.
steady() {
	_before=$(of before $1)
	_after=$(of after $1)
	[ $_after -le $((_before + 512 + 2 * CYCLES)) ] && return
	echo "$1: $_before kB before, $_after kB after"
	return 1
}

mkdir -p "$EVIDENCE"
keep version /proc/version
rm -f /tmp/stop
klp-load 2 /tmp/stop read /proc/version >/tmp/reads &
reads=$!
klp-load 1 /tmp/stop run /bin/true >/tmp/runs &
runs=$!
# The first cycles fill caches.
check "3 cycles to begin with" eval 'cycle && cycle && cycle' || exit
memory before
read -r started _rest </proc/uptime
done=0
while [ $done -lt $CYCLES ]; do
	cycle >/tmp/cycle 2>&1 || break
	done=$((done + 1))
done
read -r ended _rest </proc/uptime
echo "$done cycles from $started s to $ended s of the guest's clock" | tee $EVIDENCE/duration
cat /tmp/cycle 2>/dev/null
touch /tmp/stop
check "the load ends" eval 'wait $reads && wait $runs'
keep reads /tmp/reads
keep runs /tmp/runs
check "all $CYCLES cycles were done" equals $CYCLES $done
check "no shadow variable was lost" lacks LOST /tmp/reads
check "programs started and ended all the time" contains "exit status: 0" /tmp/runs
# Memory that is freed after a grace period is there for some moments.
check "slabs are as before" wait_until 30 eval 'memory after >/dev/null; steady slab'
check "module memory is as before" wait_until 30 eval 'memory after >/dev/null; steady vmalloc'
memory after
check "the original is back" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded $lp
