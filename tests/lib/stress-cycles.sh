# SPDX-License-Identifier: GPL-2.0-or-later
# CYCLES of load, enable, disable and unload, while functions are called, programs start and end, and modules come and go.
. /lib/stress.sh

lp=$(module_of "$KO_stress")

# cycle: one load, and everything back.
cycle() {
	insmod "$KO_stress" && wait_until 60 settled $lp &&
		contains "stress: read " /proc/version &&
		insmod "$KO_module_klp_callbacks_mod" && rmmod klp_callbacks_mod &&
		echo 0 >$PATCHES/$lp/enabled && wait_until 60 absent $PATCHES/$lp && rmmod $lp
}

keep version /proc/version
load_begins
# The first cycles fill caches.
check "3 cycles to begin with" eval 'cycle && cycle && cycle' || exit
memory before
check "all $CYCLES cycles were done" repeated cycle
load_saw
memory_is_steady
check "the original is back" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded $lp
