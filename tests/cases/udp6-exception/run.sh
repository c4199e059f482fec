# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_udp6_exception")

# pmtu NUMBER: path MTUs before and after the packet, to an address that no case has used. A stored MTU stays for minutes.
pmtu() {
	./pmtu fd00::1 "fd00::$1" 2>&1
}

load_module "$KO_module_dummy" || exit
ip link set lo up && ip link set dummy0 up && ip -6 addr add fd00::1/64 dev dummy0 || exit
check "the fault is there: the packet changes nothing" equals "1500, then 1500" "$(pmtu 10)" || exit
check "kpatch load succeeds" kpatch load "$KO_udp6_exception" || exit
check "the packet lowers the path MTU" equals "1500, then 1400" "$(pmtu 11)"
check "of this address alone" equals "1500, then 1400" "$(pmtu 12)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the fault is back" equals "1500, then 1500" "$(pmtu 13)"
check "what was stored stays" equals "1400, then 1400" "$(pmtu 11)"
check "nothing of the patch is left" unloaded "$module"
ip link set dummy0 down
remove_module "$KO_module_dummy"
