# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_keys_wakeup")

# keys: how many keys of the type the kernel has.
keys() {
	grep -c "dns_resol" /proc/keys
}

# reaped: the key type is registered, has a key, and goes with its module, which waits until the collector has reaped the key.
reaped() {
	load_module "$KO_module_dns_resolver" && ./key add && [ "$(keys)" -ge 1 ] &&
		remove_module "$KO_module_dns_resolver" && [ "$(keys)" = 0 ] && ./key drop
}

twenty() {
	_round=0
	while [ $_round -lt 20 ]; do
		reaped || return
		_round=$((_round + 1))
	done
}

check "the original reaps the keys of a type that goes" reaped || exit
check "kpatch load succeeds" kpatch load "$KO_keys_wakeup" || exit
# A kprobe behind the ftrace site: the original's code, which only the replacement calls now.
echo "p:inside key_garbage_collector+9" >$TRACING/kprobe_events
echo 1 >$TRACING/events/kprobes/enable
check "with the repair it does so twenty times" twenty
check "the collector's original ran" test "$(hits inside)" -ge 20
echo 0 >$TRACING/events/kprobes/enable
echo >$TRACING/kprobe_events
check "kpatch unload succeeds" kpatch unload "$module"
check "the original reaps them again" reaped
check "nothing of the patch is left" unloaded "$module"
