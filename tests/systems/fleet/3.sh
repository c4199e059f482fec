# SPDX-License-Identifier: GPL-2.0-or-later
# After all machines were given version 1.
. /lib/case.sh
. /case/fleet.sh
check "version 1 acts" patched
check "it is version 1-1" version 1-1
check "its module alone is enabled" enabled_alone
check "kpatch status is content" status
