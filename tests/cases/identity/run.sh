# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=kpatch_copies
file=$(env | sed -n "s/^KO_copies[0-9_]*=//p")

# work NAME: programs that use files, processes, memory, pipes and the network; what they answer is in /tmp/NAME.
work() {
	{
		mkdir -p /tmp/work/mounted
		mount -t tmpfs tmpfs /tmp/work/mounted
		cd /tmp/work/mounted || return
		seq 1 20000 >numbers
		sort -r numbers | md5sum
		tar -cf - numbers | gzip | gzip -d | tar -tf -
		ln numbers hard
		ln -s hard soft
		mv hard moved
		cat soft 2>&1
		for i in 1 2 3 4 5 6 7 8; do (exec sh -c "kill -0 \$\$; exit $i"); echo $?; done
		dd if=/dev/zero of=zeroes bs=64k count=64 2>/dev/null
		sync
		md5sum zeroes
		find /proc/self /sys/module/kernel -maxdepth 2 2>/dev/null | wc -l >/dev/null
		ip link set lo up
		ping -c 2 127.0.0.1 | grep -c "bytes from"
		nc -l -p 4000 -w 5 >got & sleep 1
		echo hello | nc -w 2 127.0.0.1 4000
		wait
		cat got
		mkfifo pipe
		(echo through >pipe) & read -r line <pipe
		echo "$line"
		sh -c 'ulimit -n 8; for i in 3 4 5 6 7 8 9; do eval "exec $i</dev/null" || exit 3; done' 2>/dev/null
		echo "limit: $?"
		cd /
		umount /tmp/work/mounted
	} >"/tmp/$1" 2>&1
	keep "$1" "/tmp/$1"
}

work before
check "kpatch load succeeds" kpatch load "$file" || exit
work copied
check "the answers are as before" same /tmp/before /tmp/copied
for round in 1 2 3 4 5; do work "again.$round"; done
check "and the fifth time" same /tmp/before /tmp/again.5
# unload: names the tasks that the transition waits for, with their stacks.
unload() {
	kpatch unload "$module" && return
	for task in /proc/[0-9]*; do
		[ "$(cat "$task/patch_state" 2>/dev/null)" = 1 ] || continue
		echo "$task: $(cat "$task/comm")"
		cat "$task/stack"
	done
	return 1
}
check "kpatch unload succeeds" unload
work after
check "the answers are as before" same /tmp/before /tmp/after
check "nothing of the patch is left" unloaded "$module"
