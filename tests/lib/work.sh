# SPDX-License-Identifier: GPL-2.0-or-later
# Work of programs for cases that change nothing: what they answer must not change.

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

# unload_within <module> <seconds>: unloads a patch of many functions. `kpatch unload` waits for the transition; the kernel then waits
# for a grace period of RCU tasks for each function that it takes out of ftrace.
unload_within() {
	_end=$(($(date +%s) + $2))
	until kpatch unload "$1"; do
		[ "$(date +%s)" -lt "$_end" ] || return 1
		sleep 10
	done
}
