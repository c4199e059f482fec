# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
echo "words: bad" >/dev/kmsg
check "this holds" true
