# SPDX-License-Identifier: GPL-2.0-or-later
# After the second rollout of version 2, which fails on machine b: no machine has version 2.
. /lib/case.sh
. /case/fleet.sh

# since: what `kpatch history` has since script 4.
since() {
	kpatch history >/tmp/history && cat /tmp/history && grep -vxF -f "$BEFORE" /tmp/history >/tmp/since
	[ $? -le 1 ]
}

check "version 1 acts" patched
check "it is version 1-1" version 1-1
check "its module alone is enabled" enabled_alone
check "kpatch status is content" status
check "the history is read" since
case $HOST in
a)
	check "version 2 was loaded here" grep -q "load.*_2_1" /tmp/since
	check "version 1 was loaded again" grep -q "load.*_1_1" /tmp/since
	;;
b)
	check "version 2 was tried here" grep -q "_2_1" /tmp/since
	;;
c)
	check "the rollout did not come to this machine" equals "" "$(cat /tmp/since)"
	;;
esac
