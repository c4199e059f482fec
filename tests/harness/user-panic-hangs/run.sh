# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "something before" true
echo "Kernel panic - not syncing: x" >/dev/kmsg
echo "Oops: 0002 [#1]" >/dev/kmsg
# The guest program tells the host who said it.
for turn in 1 2 3 4 5; do
	usleep 100000
done
mkdir /tmp/groups
mount -t cgroup2 none /tmp/groups && mkdir /tmp/groups/ice || exit
echo 1 >/tmp/groups/ice/cgroup.procs
echo 1 >/tmp/groups/ice/cgroup.freeze
while :; do sleep 1000; done
