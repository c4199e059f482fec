# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "something before" true
# The kernel names the task that drops caches: these are its own words.
(
	echo -n "Oops: 2 [#1]" >/proc/self/comm
	echo 1 >/proc/sys/vm/drop_caches
)
mkdir /tmp/groups
mount -t cgroup2 none /tmp/groups && mkdir /tmp/groups/ice || exit
echo 1 >/tmp/groups/ice/cgroup.procs
echo 1 >/tmp/groups/ice/cgroup.freeze
while :; do sleep 1000; done
