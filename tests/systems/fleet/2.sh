# SPDX-License-Identifier: GPL-2.0-or-later
# After the rollout of version 2.
. /lib/case.sh
. /case/fleet.sh
check "version 2 acts" patched_twice
check "it is version 2-1" version 2-1
check "its module alone is enabled" enabled_alone
check "kpatch status is content" status
if [ "$HOST" = a ]; then
	check "kpatch rollback goes back" kpatch rollback
	check "version 1 acts again" patched
fi
