# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
# A program's words do not count, the kernel's do: it names the task that drops caches.
echo "words: good (1): drop_caches: 1" >/dev/kmsg
(
	echo -n "words: bad" >/proc/self/comm
	echo 1 >/proc/sys/vm/drop_caches
)
check "this holds" true
