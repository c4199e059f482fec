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

# unload_within <module> <seconds>: unloads a patch of many functions. When it does not succeed, names the tasks that the transition
# waits for, with their stacks.
unload_within() {
	_end=$(($(date +%s) + $2))
	until kpatch unload "$1"; do
		if [ "$(date +%s)" -ge "$_end" ]; then
			for _task in /proc/[0-9]*; do
				[ "$(cat "$_task/patch_state" 2>/dev/null)" = 1 ] || continue
				echo "$_task: $(cat "$_task/comm")"
				cat "$_task/stack"
			done
			return 1
		fi
		sleep 10
	done
}

# changes_nothing <file> <seconds>: the live patch loads, programs work as before with it, and after its way back, which may take so long.
changes_nothing() {
	_module=$(module_of "$1")
	work before
	check "kpatch load succeeds" kpatch load "$1" || exit
	check "it is in force" settled "$_module"
	work changed
	check "the answers are as before" same /tmp/before /tmp/changed
	for _round in 1 2 3 4 5; do work "again.$_round"; done
	check "and the fifth time" same /tmp/before /tmp/again.5
	check "kpatch unload succeeds" unload_within "$_module" "$2"
	work after
	check "the answers are as before" same /tmp/before /tmp/after
	check "nothing of the patch is left" unloaded "$_module"
}
